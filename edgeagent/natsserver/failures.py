"""Why a process ended, in one sentence with a remedy; pure.

nats-server's words were collected by provoking each failure with nats-server 2.15.1.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from edgeagent.errors import Failed

__all__ = ["Diagnosis", "StartFailed", "explain_exit", "explain_nats_server"]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """why, remedy: as for EdgeError.

    kind: a word for programs: ``address_in_use``, ``config``, ``store``, ``log``, ``program``, ``slow`` or ``exit`` (nothing known).
    hopeless: starting the same again cannot help; a person has to change something.
    """

    why: str
    remedy: str = ""
    kind: str = "exit"
    hopeless: bool = False


class StartFailed(Failed):
    """A process could not be started, or ended before it was ready. ``log_lines`` are the last ones of its log.

    The lines are part of the message only where no better reason is known.
    """

    @property
    def lost_port(self) -> int:
        """The port that another program was quicker to take; 0: that is not why."""
        return int(self.why.rpartition(":")[2]) if self.kind == "address_in_use" else 0

    def __init__(self, what: str, diagnosis: Diagnosis, log_lines: Sequence[str] = ()) -> None:
        super().__init__(what, diagnosis.why, diagnosis.remedy)
        self.kind, self.hopeless, self.log_lines = diagnosis.kind, diagnosis.hopeless, list(log_lines)
        if diagnosis.kind in ("exit", "slow") and log_lines:
            self.args = ("\n  | ".join([f"{self}. It said last:", *log_lines]),)


def explain_exit(text: str, status: int | None) -> Diagnosis:
    """What is known of any program that ended.

    text: what it wrote since it was started.
    status: its exit status, negative for a signal as in :mod:`subprocess`; None when it is not known (it was not our child).
    """
    if status is None:
        return Diagnosis(why="it ended")
    if status >= 0:
        return Diagnosis(why=f"it ended with exit status {status}")
    if status == -signal.SIGKILL:
        return Diagnosis(why="it was killed (SIGKILL)", remedy="was memory short? `dmesg | grep -i oom` tells")
    return Diagnosis(why=f"it was ended by signal {-status}")


def explain_nats_server(text: str, status: int | None, config: str = "its configuration") -> Diagnosis:
    """Like :func:`explain_exit`, with nats-server's own words for what a person can mend.

    config: the configuration file, for remedies.
    """
    for pattern, diagnose in _PATTERNS:
        match = re.search(pattern, text, re.MULTILINE)
        if match is not None:
            return diagnose(match, config)
    return explain_exit(text, status)


def _in_use(match: re.Match[str], config: str) -> Diagnosis:
    return Diagnosis(
        why=f"another program uses {match[1]}",
        remedy=f"choose another port, or find that program: `ss -ltnp sport = :{match[1].rpartition(':')[2]}`",
        kind="address_in_use",
    )


def _not_allowed(match: re.Match[str], config: str) -> Diagnosis:
    return Diagnosis(
        why=f"listening at {match[1]} is not allowed", remedy="use a port of 1024 or more", kind="config", hopeless=True
    )


def _store(match: re.Match[str], config: str) -> Diagnosis:
    return Diagnosis(
        why=f"its store cannot be used ({match[1]})",
        remedy=f"check owner, mode and free space of the folder `store_dir` in {config}",
        kind="store",
    )


def _config(match: re.Match[str], config: str) -> Diagnosis:
    return Diagnosis(
        why=f"nats-server does not accept its configuration ({match[1]})",
        remedy=f"mend the setting from which {config} was made",
        kind="config",
        hopeless=True,
    )


def _fatal(match: re.Match[str], config: str) -> Diagnosis:
    return Diagnosis(why=f"nats-server says: {match[1]}")


def _log(match: re.Match[str], config: str) -> Diagnosis:
    remedy = f"check owner, mode and free space of the folders named in {config}"
    return Diagnosis(why=f"it cannot write ({match[1]})", remedy=remedy, kind="log")


#: First match counts. ``nats-server: ...`` without a time stamp is its last word before it has a log.
_PATTERNS = (
    (r"listen tcp (\S+): bind: address already in use", _in_use),
    (r"listen tcp (\S+): bind: permission denied", _not_allowed),
    (r"^.*\[FTL\] Can't start JetStream: (.*)$", _store),
    (r"^.*\[FTL\] Could not write pidfile: (.*)$", _log),
    (r"^.*\[FTL\] (.*)$", _fatal),
    (r"error opening file: (.*)$", _log),
    (r"^nats-server: (.*)$", _config),
)
