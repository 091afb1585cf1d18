"""What is known of the agent from outside: its status file, its process, its unit."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeagent import __version__, status
from edgeagent.doctor import systemd
from edgeagent.doctor.check import Patient
from edgeagent.doctor.systemd import AGENT_UNIT, LEAF_UNIT, Unit
from edgeagent.errors import EdgeError, Refused, Unreachable
from edgeagent.leaf.linkfailures import LinkFailure, explain_last
from edgeagent.natsserver import logtail
from edgeagent.status import Status

__all__ = ["Observed", "observed", "running"]


@dataclass(frozen=True, kw_only=True)
class Observed:
    """now: Unix seconds. seen: what the agent said last; None: nothing, or :attr:`unreadable` says why not. is_running: it still does.

    agent, leaf: the units. external: the leaf is a unit of its own. link: why the leaf has no link, as it logged; None: it does not say.
    version: of the edgeagent that asks. log: where the leaf logs.
    """

    now: float
    seen: Status | None = None
    unreadable: str = ""
    is_running: bool = False
    agent: Unit = field(default_factory=lambda: Unit(name=AGENT_UNIT))
    leaf: Unit = field(default_factory=lambda: Unit(name=LEAF_UNIT))
    external: bool = False
    link: LinkFailure | None = None
    version: str = __version__
    log: str = ""


def running(patient: Patient) -> Status | None:
    """What the agent says of itself, None while it does not run."""
    seen, _ = _read(patient)
    return seen if seen and status.is_running(seen) else None


def observed(patient: Patient) -> Observed:
    seen, unreadable = _read(patient)
    is_running = seen is not None and status.is_running(seen)
    external, log = patient.settings.leaf.mode == "external", patient.settings.state_folder / "leaf.log"
    words = ""
    if seen and is_running and not seen.link.up:
        words = systemd.journal(LEAF_UNIT) if external else logtail.since(log, 0)
    return Observed(
        now=patient.now(),
        seen=seen,
        unreadable=unreadable,
        is_running=is_running,
        agent=systemd.show(patient, AGENT_UNIT),
        leaf=systemd.show(patient, LEAF_UNIT),
        external=external,
        link=explain_last(words),
        log="`journalctl -u edgeagent-leaf`" if external else str(log),
    )


def _read(patient: Patient) -> tuple[Status | None, str]:
    path = patient.settings.status_file
    try:
        return status.read(path), ""
    except Unreachable as error:  # there is none, or we may not read it
        return None, "" if error.why.startswith("there is no") else str(path)
    except Refused:
        return None, str(path)
    except EdgeError:
        return None, ""
