"""What systemd knows of our units. Nobody needs rights for it; the journal is for root and a few groups."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from edgeagent.doctor.check import Patient

__all__ = ["AGENT_UNIT", "LEAF_UNIT", "Unit", "journal", "parse", "show"]

AGENT_UNIT, LEAF_UNIT = "edgeagent.service", "edgeagent-leaf.service"
#: For one answer, in seconds.
ASK_SECONDS = 5.0
#: So much of the journal is read, in lines.
LINES = 300

_PROPERTIES = ("LoadState", "ActiveState", "SubState", "Result", "NRestarts", "User", "UnitFileState")
#: ``Result`` of a service (systemd.exec(5), $SERVICE_RESULT) in our words.
_RESULTS = {
    "watchdog": "it no longer answered the watchdog",
    "oom-kill": "it was killed for want of memory",
    "timeout": "it took too long to start or to stop",
    "exit-code": "it ended with an error",
    "signal": "it was killed by a signal",
    "core-dump": "it crashed",
    "start-limit-hit": "it ended too often",
}


@dataclass(frozen=True, kw_only=True)
class Unit:
    """is_loaded: there is such a unit. active, sub: its states. why: how it ended last, empty when that was well. restarts: that systemd made
    since a person started it. user: as whom it runs. enabled: ``enabled``, ``disabled`` ..., empty for a unit without [Install]."""

    name: str
    is_loaded: bool = False
    active: str = ""
    sub: str = ""
    why: str = ""
    restarts: int = 0
    user: str = ""
    enabled: str = ""

    @property
    def is_failing(self) -> bool:
        return self.active == "failed" or self.sub.startswith("auto-restart")


def show(patient: Patient, name: str) -> Unit:
    """Nothing is loaded where there is no systemd, or the agent is not the system's."""
    if not patient.settings.is_system or not patient.machine.path("/run/systemd/system").is_dir():
        return Unit(name=name)
    return parse(name, _asked("systemctl", "show", name, f"--property={','.join(_PROPERTIES)}"))


def parse(name: str, text: str) -> Unit:
    """text: ``NAME=VALUE`` lines of `systemctl show`."""
    found = dict(line.partition("=")[::2] for line in text.splitlines())
    result, count = found.get("Result", ""), found.get("NRestarts", "")
    return Unit(
        name=name,
        is_loaded=found.get("LoadState") == "loaded",
        active=found.get("ActiveState", ""),
        sub=found.get("SubState", ""),
        why="" if result in ("", "success") else _RESULTS.get(result, result),
        restarts=int(count) if count.isdecimal() else 0,
        user=found.get("User", ""),
        enabled=found.get("UnitFileState", ""),
    )


def journal(unit: str) -> str:
    """What it logged last in this boot; empty where we may not read that."""
    return _asked("journalctl", "--boot", "--unit", unit, f"--lines={LINES}", "--output=cat", "--no-pager", "--quiet")


def _asked(*words: str) -> str:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=ASK_SECONDS, errors="replace", stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
