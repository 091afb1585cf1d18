"""A Pico in an emulator of its chip, with MicroPython's own file: ``EDGEAGENT_UF2=FILE.uf2``, and ``pip install 'rp2040py[fs]'``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.virtualpico import wait_for

__all__ = ["SECONDS", "UF2", "EmulatedPico"]

UF2 = os.environ.get("EDGEAGENT_UF2", "")
#: For one step, in seconds: the emulator takes about twenty for one of the chip's.
SECONDS = 400.0
_EMULATOR = shutil.which("rp2040py", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}") or "rp2040py"


class EmulatedPico:
    """``with EmulatedPico(folder) as pico``: plugged in. ``port`` leads to its port; its flash is kept while it has no power.

    Its USB line is its power, and it does not notice a port that is closed or left unread.
    """

    def __init__(self, folder: Path) -> None:
        self.port, self._flash, self._log = folder / "ttyACM", folder / "flash.img", folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> EmulatedPico:
        self.plug()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def plug(self) -> None:
        kept = ["--littlefs", str(self._flash), "--dump-fs", str(self._flash)]
        board = "pico_w" if "pico_w" in Path(UF2).name.lower() else "pico"
        with self._log.open("wb") as out:
            command = [_EMULATOR, "micropython", "--pty", "--board", board, "--image", UF2, *kept]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        found = wait_for(lambda: re.search(r"/dev/pts/\d+", self._log.read_text()), "it has a port")[0]
        self.port.unlink(missing_ok=True)
        self.port.symlink_to(found)

    def unplug(self) -> None:
        """In the middle of whatever it does; what is in its flash then is all that it has afterwards."""
        assert self._process
        self.port.unlink()
        self._process.terminate()
        self._process.wait(60)
