"""Whether this machine's clock can be trusted: TLS, credentials and the deadlines of commands go by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

from edgeagent.assembly.findings import Finding
from edgeagent.builtin.facts.clock import synchronized
from edgeagent.doctor import linkprobe
from edgeagent.doctor.check import Case, Check, Patient
from edgeagent.doctor.linkprobe import Probed
from edgeagent.doctor.login import Held, held
from edgeagent.times import duration
from edgeagent.trust.validity import START

__all__ = ["CLOCK", "Clock", "judge", "read"]

#: How far from the hub's clock is worth a word, and how far is wrong, in seconds: commands of a minute would come too late.
ODD_SECONDS, WRONG_SECONDS = 5.0, 60.0

_NTP = "`timedatectl` shows how it is set; `sudo timedatectl set-ntp true` has the network set it (UDP port 123 must be open)"

GOOD = Case("good", "{now}, set by the network")
UNTOLD = Case("good", "{now}; the kernel does not say who sets it")
FREE = Case(
    "warn",
    "{now}, and nothing keeps it right",
    _NTP,
    "A Raspberry Pi has no battery for its clock (the Pi 5 can have one): after a power cut it goes on where it stopped. The agent helps "
    "itself with the hub's time; other programs can't.",
)
EARLY = Case(
    "wrong",
    "{now}: that is before {what}, so it is wrong",
    _NTP,
    "With such a clock certificates are not valid yet, and the link fails.",
)
ODD = Case("warn", "{now}, {off} the hub's clock", _NTP + "; if this one is right, the hub's is not")
WRONG = Case("wrong", "{now}, {off} the hub's clock", _NTP + "; if this one is right, the hub's is not")


@dataclass(frozen=True)
class Clock:
    """now: Unix seconds. synchronized: None: not known."""

    now: float
    synchronized: bool | None


def read(patient: Patient) -> Clock:
    return Clock(patient.now(), synchronized(patient.machine))


def judge(clock: Clock, login: Held, hub: Probed) -> Iterator[Finding]:
    now = f"{_moment(clock.now):%Y-%m-%d %H:%M:%S} UTC"
    earliest, what = _earliest(login)
    off = hub.ahead_seconds
    if clock.now < earliest - WRONG_SECONDS:
        yield EARLY(now=now, what=what)
    elif off is not None and abs(off) > ODD_SECONDS:
        case = WRONG if abs(off) > WRONG_SECONDS else ODD
        yield case(now=now, off=f"{duration(abs(off))} {'behind' if off > 0 else 'ahead of'}")
    elif clock.synchronized is None:
        yield UNTOLD(now=now)
    else:
        yield (GOOD if clock.synchronized else FREE)(now=now)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def _earliest(login: Held) -> tuple[float, str]:
    """It is later than this, and why."""
    if login.credentials is not None and login.credentials.issued_at:
        issued = login.credentials.issued_at
        return issued, f"this device's credentials were made ({_moment(issued):%Y-%m-%d %H:%M})"
    return START.timestamp(), "any certificate of a hub was made"


CLOCK = Check(
    "clock",
    "Whether something sets the clock, and whether it can be right: not before the credentials were made, and as the hub's clock is. That is "
    "asked where the agent is linked and we may use its login.",
    (read, held, linkprobe.read),
    judge,
    (GOOD, UNTOLD, FREE, EARLY, ODD, WRONG),
    alone=True,
)
