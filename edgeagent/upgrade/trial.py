"""Whether a release has proved itself: judged by what is seen of the agent's service. Pure; the caller looks, and has the clock.

Healthy is an agent that has reached the hub with the new version and has gone on for ``alive_seconds`` as one process. What systemd had
to start again is not, whatever ended it.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Judge", "Look", "Verdict"]


class Look(NamedTuple):
    """at: a monotonic clock, in seconds. pid: of the service's main process, 0 for none. restarts: how often systemd started it again by
    itself. linked: this very process says that the hub acknowledged it."""

    at: float
    pid: int
    restarts: int
    linked: bool


class Verdict(NamedTuple):
    """why: what is wrong with it, one sentence."""

    good: bool
    why: str = ""


class Judge:
    """One trial. alive_seconds: how long it must go on. link_seconds: how long it may take to reach the hub."""

    def __init__(self, *, alive_seconds: float, link_seconds: float) -> None:
        self._alive, self._link = alive_seconds, link_seconds
        self._began: float | None = None
        self._restarts = 0
        self._process: Look | None = None
        self._gone_at: float | None = None
        self._linked = False

    def see(self, look: Look) -> Verdict | None:
        """None as long as nothing is sure."""
        if self._began is None:
            self._began, self._restarts = look.at, look.restarts
        if look.restarts > self._restarts:
            return Verdict(False, f"its agent ended after {self._lived(look):.0f} s, and had to be started again")
        self._restarts = look.restarts  # a person's restart has it counted anew
        self._follow(look)
        if self._linked and self._gone_at is None and self._lived(look) >= self._alive:
            return Verdict(True)
        return self._too_late(look.at - self._began)

    def _follow(self, look: Look) -> None:
        if look.pid == 0:
            self._gone_at = self._gone_at or look.at
        elif self._process is None or self._process.pid != look.pid:
            self._process, self._gone_at, self._linked = look, None, look.linked
        else:
            self._linked = self._linked or look.linked

    def _lived(self, look: Look) -> float:
        return (self._gone_at or look.at) - self._process.at if self._process else 0.0

    def _too_late(self, waited: float) -> Verdict | None:
        if waited >= self._link and not self._linked:
            return Verdict(False, f"its agent has not reached the hub within {self._link:.0f} s")
        if waited >= self._link + 2 * self._alive:
            return Verdict(False, f"its agent has not gone on for {self._alive:.0f} s as one process")
        return None
