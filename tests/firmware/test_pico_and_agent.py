"""The whole path by USB: a virtual Pico that the real command flashes, a real agent that it belongs to, and a hub beyond that."""

from __future__ import annotations

import binascii
import json
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import serial

from edgeagent import mcumessages
from edgeagent.bridge.frames import encode
from edgeagent.natsserver import ports
from edgeagent.patterns import mcuupdate
from tests.support.fleet import STEADY, LiveFleet
from tests.support.micropython import missing
from tests.support.picobench import COUNT, DEVICE, HANGS, MCU, SETTINGS, Bench, version
from tests.support.typed import here
from tests.support.virtualpico import Pico, wait_for

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

NEVER_CONFIRMS = "class Trial:\n    def __init__(self, confirm, seconds): pass\n    def look(self, is_well, now): pass\n"


def copy(pico: Pico, folder: Path) -> None:
    """Its flash, for another one in ``folder``, without what it has measured."""
    shutil.copytree(pico.flash, folder / "flash", ignore=shutil.ignore_patterns("n", "n.new", "kept"))


def measured(pico: Pico) -> int:
    return int((pico.flash / "n").read_text())


def slot(pico: Pico) -> dict[str, Any]:
    return dict(json.loads((pico.flash / "slot.json").read_text()))


class Board(NamedTuple):
    """update: the command by which it is updated."""

    pico: Pico
    update: str


@pytest.fixture(scope="module")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pico]:
    """Flashed."""
    folder = tmp_path_factory.mktemp("pico")
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    with Pico(folder, files={"lib/sensor_count.py": COUNT}) as made:
        said = here("firmware", "flash", "--port", str(made.port), "--settings", str(folder / "settings.json"))
        assert said.code == 0, said
        yield made


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, pico: Pico) -> Iterator[Bench]:
    text = '[commands]\nallow = ["mcu.update"]\n'
    with LiveFleet(tmp_path_factory.mktemp("fleet"), 1, STEADY, more=lambda device: text) as fleet, fleet.borrowed():
        made = Bench(fleet)
        said = made.run("mcu", "add", MCU, "--port", pico.port)
        assert said.code == 0, said
        made.wait("online")
        yield made


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcuupdate, "PAUSE_SECONDS", 0.1)


def test_it_does_what_it_is_told(bench: Bench, pico: Pico) -> None:
    assert bench.send("led", "on=1") == {"led": 1} and bench.send("pin.lamp", "on=1") == {"lamp": 1}
    assert (pico.world / "pins").read_text().splitlines()[-2:] == ["LED 1", "15 1"]
    read = bench.send("read")
    assert (read["led"], read["lamp"]) == (1, 1)
    assert bench.send("interval") == {"seconds": 0.1} and bench.send("interval", "seconds=0.3") == {"seconds": 0.3}
    assert bench.send("interval", "seconds=0") == {"seconds": 0.1}


def test_a_board_at_its_prompt_is_told_as_that(bench: Bench, tmp_path: Path) -> None:
    with Pico(tmp_path) as bare:
        assert bench.run("mcu", "add", "bare", "--port", bare.port).code == 0
        wait_for(lambda: "MicroPython's prompt" in bench.mcu("bare").problem, "it says what it is")
        assert bench.mcu("bare").state == "silent"
    assert bench.run("mcu", "rm", "bare").code == 0


#: What would make a folder if any of it ran.
CODE = [
    "__import__('os').mkdir('/p')",
    '"; import os; os.mkdir("/p") #',
    "\\\"+__import__('os').mkdir('/p') #",
    "x\n\r\n\nimport os\nos.mkdir('/p')\n",
]
CODE += ["\x03\x05\x01import os\nos.mkdir('/p')\x04", '"""\nimport os\nos.mkdir("/p")\n"""', "os.mk\t('/p')", "\\"]


def test_nothing_that_it_is_sent_runs_at_its_prompt(tmp_path: Path) -> None:
    """A frame is one line, in which a checksum follows a table: that is no Python, whatever is in the table."""
    with Pico(tmp_path) as bare, serial.Serial(str(bare.port), timeout=0.1) as line:
        for number, code in enumerate(CODE):
            args = {code: code, "x": [code, {"": code}]}
            line.write(encode(mcumessages.encode(mcumessages.Command(id=f"{number}", a=code, args=args))))
        line.write(b"print(6 * 7)\r")
        said = bytearray()
        wait_for(lambda: said.extend(line.read(4096)) or b"\n42" in said, "it is at its prompt still")
        assert said.count(b"SyntaxError") == len(CODE) and not (bare.flash / "p").exists()


def test_each_reading_is_stored_once_though_it_is_unplugged_and_the_agent_is_killed(bench: Bench, pico: Pico) -> None:
    found = bench.more()
    assert found == list(range(1, found[-1] + 1))
    bench.kill_agent()
    found = bench.more(10)
    assert found == list(range(1, found[-1] + 1)), "all that it measured meanwhile is there"

    pico.tell("unplug")
    bench.wait("offline")
    assert "plugged" in bench.mcu().problem
    cut_at = measured(pico)
    pico.tell("plug")
    bench.wait("online")
    found = bench.more(5)
    assert found == sorted(set(found)) and found[-1] > cut_at
    assert set(range(1, found[-1] + 1)) - set(found) <= {cut_at - 1, cut_at}, "what was on its way when its power went, at most"


def test_the_configuration_of_the_fleet_reaches_it(bench: Bench, pico: Pico) -> None:
    said = here("config", "set", "-d", DEVICE, f"mcu.{MCU}.interval_seconds=0.2")
    assert said.code == 0, said
    wait_for(lambda: bench.send("interval") == {"seconds": 0.2}, "it is told")
    pico.tell("reset")
    pico.wait("reset")
    bench.wait("offline")
    bench.wait("online")
    wait_for(lambda: bench.send("interval") == {"seconds": 0.2}, "it is told again")


def test_it_is_updated_and_no_reading_is_lost_though_nobody_takes_any_when_it_restarts(
    bench: Bench, pico: Pico, tmp_path: Path
) -> None:
    source_folder, agent = version(tmp_path, "0.2.0"), bench.fleet.pid(DEVICE)
    before = bench.more()
    with ThreadPoolExecutor() as aside:
        update = aside.submit(bench.run, "firmware", "update", MCU, "--source", source_folder)
        wait_for(lambda: "pending" in slot(pico), "it has all of it, and restarts in a second")
        os.kill(agent, signal.SIGSTOP)
        try:
            pico.wait("reset")
        finally:
            os.kill(agent, signal.SIGCONT)
        said = update.result()
    assert said.code == 0 and said.out.startswith("pico: 0.1.0 -> 0.2.0, "), said
    assert slot(pico) == {"active": "b"}
    assert (bench.firmware()["firmware"], bench.firmware()["state"]) == ("0.2.0", "newer")
    found = bench.more()
    assert found[len(before) :] == list(range(before[-1] + 1, found[-1] + 1))
    again = bench.run("firmware", "update", MCU, "--source", source_folder)
    assert again.code == 0 and again.out == "pico: it runs 0.2.0 already\n" and again.err == "", again


@pytest.fixture(scope="module")
def mute(bench: Bench, pico: Pico, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """Another one, which is being sent a version that never confirms."""
    folder = tmp_path_factory.mktemp("mute")
    copy(pico, folder)
    main = "import loader\nloader.TRIES = loader.TRIAL_SECONDS = 1\nloader.main()\n"
    with Pico(folder, files={"main.py": main}) as board:
        assert bench.run("mcu", "add", "mute", "--port", board.port).code == 0
        bench.wait("online", "mute")
        source_folder = version(folder, "0.4.0", trial=NEVER_CONFIRMS)
        said = here("firmware", "update", f"{DEVICE}/mute", "--source", str(source_folder), "--json")
        assert said.code == 0, said
        yield Board(board, json.loads(said.out)["id"])


@pytest.mark.usefixtures("mute")
def test_it_goes_back_from_a_version_that_hangs(bench: Bench, pico: Pico, tmp_path: Path) -> None:
    runs, seen = bench.firmware()["firmware"], len(pico.events)
    pico.put(
        "main.py", "import loader\nloader.WATCHDOG_MS = 100 if loader.state().get('tries', 3) < 3 else 8388\nloader.main()\n"
    )
    before = bench.more()
    said = bench.run("firmware", "update", MCU, "--source", version(tmp_path, "0.3.0", trial=HANGS))
    assert said.code == 1 and f"version 0.3.0 did not prove itself, and it runs {runs} again" in said.err, said
    assert [each["cause"] for each in pico.events[seen:] if each["event"] == "boot"] == ["reset"] + ["watchdog"] * 3
    assert slot(pico)["bad"] == "0.3.0" and "pending" not in slot(pico)
    wait_for(lambda: bench.firmware()["state"] == "went back from 0.3.0", "the status says so")
    assert (bench.firmware()["firmware"], bench.firmware()["bad"]) == (runs, "0.3.0")
    assert f"`edgeagent mcu send {MCU} dismiss`" in bench.mcu().problem
    assert bench.send("dismiss") == {"dismissed": "0.3.0"}
    wait_for(lambda: bench.firmware()["bad"] is None, "it is no longer told")
    assert (bench.mcu().problem, slot(pico)["bad"]) == ("", "0.3.0")
    found = bench.more()
    assert found[len(before) :] == list(range(before[-1] + 1, found[-1] + 1)), "what it kept meanwhile is there"


def test_it_goes_back_from_a_version_that_never_confirms(bench: Bench, mute: Board) -> None:
    said = here("cmd", "show", mute.update, "--wait", "--json")
    row = json.loads(said.out)["devices"][DEVICE]
    assert said.code == 3 and row["state"] == "failed", said
    assert slot(mute.pico)["bad"] == "0.4.0" and "pending" not in slot(mute.pico)
    assert [each["cause"] for each in mute.pico.happened("boot")] == ["power", "reset", "reset"]
    wait_for(lambda: bench.firmware("mute")["state"] == "went back from 0.4.0", "the status says so")
    runs = bench.firmware("mute")["firmware"]
    assert f"version 0.4.0 did not prove itself, and it runs {runs} again" in row["reason"] and runs != "0.4.0"


def test_a_board_that_new_settings_cut_off_takes_the_old_ones_back(pico: Pico, tmp_path: Path) -> None:
    copy(pico, tmp_path)
    new = json.dumps({**SETTINGS, "wifi": {"ssid": "x"}, "mqtt": {"host": "127.0.0.1", "port": ports.pick(), "tls": False}})
    old = json.dumps({"before": SETTINGS, "crc": binascii.crc32(new.encode())})
    main = f"import sys\nsys.path.insert(0, '/{slot(pico)['active']}')\nimport settingstrial\nsettingstrial.SECONDS = 1\n"
    files = {"settings.json": new, "settings.json.old": old, "main.py": main + "import loader\nloader.main()\n"}
    with Pico(tmp_path, files=files) as board:
        board.wait("reset")
        assert json.loads((board.flash / "settings.json").read_text()) == SETTINGS
        assert not (board.flash / "settings.json.old").exists()
