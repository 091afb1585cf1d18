"""The same at MicroPython's own file for the Pico, on an emulated RP2040: for whoever has both. One flash takes a minute; the whole path, with
an agent, a cable that is pulled and two updates, twenty minutes or more.

``EDGEAGENT_UF2=FILE.uf2 pytest tests/firmware/test_flash_emulated.py``, with ``pip install 'rp2040py[fs]'``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeagent.firmware import flash, repl
from edgeagent.firmware.boards import Board
from edgeagent.firmware.repl import Repl
from edgeagent.patterns import mcuupdate
from tests.support.emulatedpico import SECONDS, EmulatedPico
from tests.support.fleet import STEADY, LiveFleet
from tests.support.minifirmware import VERSION, make, wanted
from tests.support.picobench import COUNT, HANGS, MCU, SETTINGS, Bench, version
from tests.support.typed import here

pytestmark = pytest.mark.timeout(3600)
#: The milliseconds are the chip's own, which the emulator takes longer for.
HUNG = b"import machine\nw = machine.WDT(timeout=250)\nprint('armed')\nwhile True:\n    pass\n"


_hello = flash.wait_for_hello


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the chip waits for the emulator."""
    monkeypatch.setattr(repl, "TIMEOUT_SECONDS", SECONDS / 4)
    monkeypatch.setattr(repl, "STEP_SECONDS", SECONDS * 4)
    monkeypatch.setattr(mcuupdate, "COMMAND_SECONDS", SECONDS / 4)
    monkeypatch.setattr(flash, "wait_for_hello", lambda port, version, **more: _hello(port, version, seconds=SECONDS, **more))


def test_a_pico_that_hangs_with_its_watchdog_armed_is_flashed(tmp_path: Path) -> None:
    release = wanted(make(tmp_path / "firmware"))
    with EmulatedPico(tmp_path) as pico:
        port = str(pico.port)
        with Repl(port) as board:
            board.write("/main.py", HUNG)
            assert b"armed" in board.soft_reset().read_until(b"armed")
        with Repl(port) as board:
            board.run("import time\ntime.sleep_ms(400)")  # else it would be reset in here
        flashed = flash.flash(Board(port), release, lambda *_: None)
        assert "main.py" in flashed.written and flashed.version == VERSION
        assert flash.flash(Board(port), release, lambda *_: None).written == []
        with Repl(port) as board:
            assert board.files("/a") and not [path for path in board.files("") if path.endswith(".new")]
            board.run("import machine\nassert machine.reset_cause() != machine.WDT_RESET")


#: Also of readings, each of which is a write to flash here.
SLOW = {**SETTINGS, "interval_seconds": 0.5}
#: The emulator's random numbers are always the same, and two boots of one name would be one: here they are counted. And a version on trial
#: has less time, so that three tries take minutes and not half an hour.
MAIN = b"""
import os, sys
import loader

try:
    with open("/boots") as file:
        boots = int(file.read()) + 1
except OSError:
    boots = 1
with open("/boots", "w") as file:
    file.write(str(boots))

class Os:
    def __getattr__(self, name):
        return getattr(os, name)
    def urandom(self, count):
        return boots.to_bytes(count, "big")

sys.modules["os"] = Os()
loader.WATCHDOG_MS = 2000 if loader.state().get("tries", 3) < 3 else 8388
loader.main()
"""


def test_a_pico_from_its_flash_to_a_bad_update(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps(SLOW))
    with EmulatedPico(tmp_path) as pico:
        with Repl(str(pico.port)) as board:
            board.write("/lib/sensor_count.py", COUNT.encode())
        said = here("firmware", "flash", "--port", str(pico.port), "--settings", str(tmp_path / "settings.json"))
        assert said.code == 0, said
        with Repl(str(pico.port)) as board:
            board.write("/main.py", MAIN)
            board.soft_reset()
        with LiveFleet(tmp_path / "fleet", 1, STEADY) as fleet, fleet.borrowed():
            bench = Bench(fleet, SECONDS)
            assert bench.run("mcu", "add", MCU, "--port", pico.port).code == 0
            bench.wait("online")
            found = bench.more()
            first = found[0]  # those before were measured until it was interrupted for another main.py
            assert found == list(range(first, found[-1] + 1))

            pico.unplug()
            bench.wait("offline")
            before = bench.numbers
            pico.plug()
            bench.wait("online")
            found = bench.more()
            assert found[: len(before)] == before and found == sorted(set(found)), "each once"
            assert len(set(range(first, found[-1] + 1)) - set(found)) <= 3, "what was on its way when its power went, at most"

            said = bench.run("firmware", "update", MCU, "--source", version(tmp_path, "0.2.0"))
            assert said.code == 0 and said.out.startswith("pico: 0.1.0 -> 0.2.0, "), said
            before, found = found, bench.more()
            assert found[len(before) :] == list(range(before[-1] + 1, found[-1] + 1)), "an update loses none"

            before = bench.numbers
            said = bench.run("firmware", "update", MCU, "--source", version(tmp_path, "0.3.0", trial=HANGS))
            assert said.code == 1 and "version 0.3.0 did not prove itself, and it runs 0.2.0 again" in said.err, said
            bench.wait("online")
            assert bench.firmware()["state"] == "went back from 0.3.0"
            found = bench.more()
            assert found[len(before) :] == list(range(before[-1] + 1, found[-1] + 1)), "nor do three versions that hang"
