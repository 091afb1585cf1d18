"""``edgeagent mcu add --board``: a board that runs our firmware is sent its settings by the agent of its device."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent import settings
from edgeagent.assembly import mcusettings
from edgeagent.demo import pico
from edgeagent.errors import Unreachable
from tests.support.enrolling import NewDevice
from tests.support.fleet import Said, cli
from tests.support.micropython import missing
from tests.support.virtualpico import Pico, wait_for

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

GIVEN = {"interval_seconds": 1, "outputs": {"lamp": 15}, "wifi": {"ssid": "here", "password": "secret"}}


@pytest.fixture
def device(tmp_path: Path) -> Iterator[NewDevice]:
    made = NewDevice(tmp_path / "pi")
    with made.running():
        wait_for(lambda: (now := made.status()) and now.leaf.state == "running", "the agent runs")
        yield made


def add(device: NewDevice, board: Pico, path: Path, given: object) -> Said:
    path.write_text(json.dumps(given))
    return cli("mcu", "add", "oven", "--port", str(board.port), "--board", str(path), "--settings", str(device.settings))


def test_settings_are_sent_and_checked_by_the_board(device: NewDevice, tmp_path: Path) -> None:
    pico.board(tmp_path / "board" / "flash", tmp_path / "x", "nameless")
    with Pico(tmp_path / "board") as board:
        wrong = add(device, board, tmp_path / "wrong.json", {"interval_seconds": "often"})
        assert wrong.code == 1 and 'interval_seconds: it is a number from 0.1 to 86400, and not "often"' in wrong.err
        assert cli("mcu", "rm", "oven", "--settings", str(device.settings)).code == 0
        outputs = {f"output_{number:016}": number for number in range(8)}
        mqtt = {"host": "h" * 250, "user": "oven", "password": "p" * 60, "server_name": "n" * 250}
        long = {**GIVEN, "outputs": outputs, "mqtt": mqtt}
        assert add(device, board, tmp_path / "given.json", long).code == 0, "what has no room in one frame goes key by key"
        kept = json.loads((board.flash / "settings.json").read_text())
        assert kept == {**kept, **long, "id": "oven"}
        wait_for(lambda: len(board.happened("boot")) > 1, "it has begun anew")


def test_who_does_not_answer_is_named(device: NewDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcusettings, "HEARD_SECONDS", 0.2)
    monkeypatch.setattr(mcusettings, "ANSWER_SECONDS", 0.2)
    with Pico(tmp_path / "board") as board:  # it has MicroPython, and nothing else
        assert cli("mcu", "add", "oven", "--port", str(board.port), "--settings", str(device.settings)).code == 0
        with pytest.raises(Unreachable, match="edgeagent firmware flash"):
            asyncio.run(mcusettings.push(settings.load(device.settings), "oven", GIVEN))
