"""What an upgrade asks of systemd: how a unit is, and that it is started anew."""

from __future__ import annotations

import subprocess
from typing import NamedTuple

from edgeagent import files
from edgeagent.errors import Failed

__all__ = ["AGENT", "LEAF", "Unit", "Units", "shown"]

AGENT, LEAF = "edgeagent.service", "edgeagent-leaf.service"
#: Starting a leaf with a large store on a slow card takes minutes.
SECONDS = 400.0


class Unit(NamedTuple):
    """pid: of its main process, 0 for none. restarts: how often systemd started it again by itself. active: its ActiveState."""

    pid: int = 0
    restarts: int = 0
    active: str = ""


class Units:
    """By systemctl. Every method raises EdgeError when that can't be had, or fails."""

    def show(self, unit: str) -> Unit:
        return shown(self._systemctl("show", "--property=MainPID,NRestarts,ActiveState", unit))

    def restart(self, unit: str) -> None:
        """Begin to; whether it comes up is seen."""
        self._systemctl("restart", "--no-block", unit)

    def _systemctl(self, *words: str) -> str:
        what = f"{words[0]} {words[-1]}"
        try:
            done = subprocess.run(
                ["/usr/bin/systemctl", *words],
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:
            raise files.failure(what, error) from None
        except subprocess.TimeoutExpired:
            raise Failed(what, f"systemd has not answered within {SECONDS:.0f} s") from None
        if done.returncode:
            raise Failed(what, done.stderr.strip()[:300] or f"systemctl ended with {done.returncode}")
        return done.stdout


def shown(text: str) -> Unit:
    """What `systemctl show` printed."""
    found = dict(line.partition("=")[::2] for line in text.splitlines())
    return Unit(_number(found.get("MainPID", "")), _number(found.get("NRestarts", "")), found.get("ActiveState", ""))


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
