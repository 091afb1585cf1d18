"""When a device renews its credentials, and in which of two ways; pure.

Over the link, while it has one: at two thirds of the JWT's life, or when the hub's record says that it should. By a *visit*, when the
hub lets it in no longer: the leaf links for a moment with the renewal credentials, with which it can ask for a new JWT and nothing else.
So a device that was off for a year, or was put into another group meanwhile, comes back by itself.
"""

from __future__ import annotations

import enum
import zlib
from dataclasses import dataclass

from edgeagent.trust.creds import Credentials
from edgeagent.wire import DeviceRecord

__all__ = ["LINK_SECONDS", "LOOK_SECONDS", "PROBE_SECONDS", "Situation", "Step", "decide", "is_outdated", "renew_at"]

#: The longest pause between two looks, in seconds: clocks are set, files are replaced.
LOOK_SECONDS = 60.0
#: How long a leaf that was just started may take to link before it is doubted, in seconds.
LINK_SECONDS = 3.0
#: How often to look whether the hub can be reached while the leaf is not linked, in seconds.
PROBE_SECONDS = 3.0
#: Of the JWT's life, and how much of it devices differ by, so that those enrolled together do not renew together.
_PART, _SPREAD = 2 / 3, 0.05


class Step(enum.Enum):
    """WAIT: nothing. ASK: request a JWT over the link. REDIAL: have the leaf dial at once. VISIT: link with the renewal credentials."""

    WAIT = "wait"
    ASK = "ask"
    REDIAL = "redial"
    VISIT = "visit"


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is known now. Times are Unix seconds by this machine's clock, which may be wrong; spans are seconds.

    renew_at, expires_at: of the JWT in use; None: never. missing: there is none, though there are renewal credentials.
    wanted: the hub's record says that the JWT is out of date.
    linked: with the device's own credentials. unlinked_for: how long it has not been.
    reachable_for: how long the hub's address has been taking connections while the leaf was not linked; None: it does not.
    refused: the hub has turned the leaf away since it was linked last.
    redialled: the leaf was made to dial since this agent began. can_visit: there are renewal credentials.
    ask_in, visit_in: pause that is left after the last try of each kind; 0 or less: none.
    reconnect_seconds: as the leaf is set; it dials at most twice that after the last dial.
    """

    now: float
    renew_at: float | None = None
    expires_at: float | None = None
    missing: bool = False
    wanted: bool = False
    linked: bool = False
    unlinked_for: float = 0.0
    reachable_for: float | None = None
    refused: bool = False
    redialled: bool = False
    can_visit: bool = True
    ask_in: float = 0.0
    visit_in: float = 0.0
    reconnect_seconds: float = 10.0

    @property
    def is_due(self) -> bool:
        return self.wanted or (self.renew_at is not None and self.now >= self.renew_at)

    @property
    def is_expired(self) -> bool:
        return self.missing or (self.expires_at is not None and self.now >= self.expires_at)


def renew_at(login: Credentials) -> float | None:
    """When the JWT should be renewed: after about two thirds of its life; always the same for the same JWT. None: it never expires."""
    if login.expires_at is None:
        return None
    chance = zlib.crc32(login.jwt.encode()) / 0xFFFFFFFF
    part = _PART + _SPREAD * (2 * chance - 1)
    return login.issued_at + part * (login.expires_at - login.issued_at)


def is_outdated(login: Credentials, record: DeviceRecord) -> bool:
    """Whether the hub's record of the device says that its JWT is no longer what it should be. A renewal gives one that is."""
    return not record.revoked and (login.groups != tuple(record.groups) or login.issued_at <= record.refused_until)


def decide(seen: Situation) -> tuple[Step, float]:
    """What to do now, and how long to wait at most before looking again, in seconds."""
    return _linked(seen) if seen.linked else _unlinked(seen)


def _linked(seen: Situation) -> tuple[Step, float]:
    if not seen.is_due:
        return Step.WAIT, LOOK_SECONDS if seen.renew_at is None else min(LOOK_SECONDS, seen.renew_at - seen.now)
    if seen.ask_in > 0:
        return Step.WAIT, min(LOOK_SECONDS, seen.ask_in)
    return Step.ASK, 0.0


def _unlinked(seen: Situation) -> tuple[Step, float]:
    if not seen.can_visit:
        return Step.WAIT, LOOK_SECONDS
    if seen.is_expired or seen.refused:
        return (Step.VISIT, 0.0) if seen.visit_in <= 0 else (Step.WAIT, min(LOOK_SECONDS, seen.visit_in))
    if seen.reachable_for is None:
        return Step.WAIT, max(LINK_SECONDS - seen.unlinked_for, PROBE_SECONDS if seen.unlinked_for >= LINK_SECONDS else 0.05)
    if not seen.redialled:
        return Step.REDIAL, 0.0
    # Every dial that there can have been failed without a word from the hub. Not sooner: a whole fleet whose hub comes back must not
    # visit it before each leaf had its turn.
    patience = 2.0 + 2 * seen.reconnect_seconds
    if seen.reachable_for >= patience and seen.visit_in <= 0:
        return Step.VISIT, 0.0
    return Step.WAIT, PROBE_SECONDS
