"""Who is in the account PROVISION: newcomers that claim and devices that renew, for a moment each. Pure.

It has room for so many leafs; without a rule one login could take them all and keep everybody else out.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MAX_CLAIMS", "MAX_RENEWALS", "STAY_SECONDS", "Visitor", "Visitors"]

#: Leafs at once of one device that renews: it needs one, and a lost one may not be known to be dead yet.
MAX_RENEWALS = 4
#: And of one claim token: many boards may be switched on at once, and each is done in seconds.
MAX_CLAIMS = 100
#: How long anybody may stay, in seconds; an honest visit is over in 30.
STAY_SECONDS = 120.0


class Visitor(NamedTuple):
    """user: the public key in its JWT. name: the token's id or the device's. claims: it came with a claim token."""

    connection: str
    user: str
    name: str
    claims: bool


class _Stay(NamedTuple):
    visitor: Visitor
    since: float


class Visitors:
    """Times are any clock's seconds. Whoever is to be ended is forgotten here at once; if it stays all the same, looking finds it."""

    def __init__(self) -> None:
        self._here: dict[str, _Stay] = {}
        self._by_user: dict[str, list[str]] = {}

    def came(self, visitor: Visitor, now: float) -> list[str]:
        """Note one; the connections that are to be ended, because of the same user only so many may be here: the oldest."""
        self.gone(visitor.connection)
        self._here[visitor.connection] = _Stay(visitor, now)
        own = self._by_user.setdefault(visitor.user, [])
        own.append(visitor.connection)
        most = MAX_CLAIMS if visitor.claims else MAX_RENEWALS
        return self._forgotten(own[: max(0, len(own) - most)])

    def gone(self, connection: str) -> None:
        stay = self._here.pop(connection, None)
        if stay is None or stay.visitor.user not in self._by_user:
            return
        own = self._by_user[stay.visitor.user]
        own.remove(connection)
        if not own:
            del self._by_user[stay.visitor.user]

    def looked(self, listed: set[str], now: float) -> list[str]:
        """Agree with the servers' lists; the connections that are to be ended, because they stay too long."""
        for connection in self._here.keys() - listed:
            self.gone(connection)
        for connection in listed - self._here.keys():  # it came while nobody listened
            self._here[connection] = _Stay(Visitor(connection, "", "", False), now)
        return self._forgotten([connection for connection, stay in self._here.items() if now - stay.since >= STAY_SECONDS])

    def of(self, name: str) -> list[str]:
        """The connections of that token or device."""
        return [connection for connection, stay in self._here.items() if stay.visitor.name == name]

    def _forgotten(self, connections: list[str]) -> list[str]:
        for connection in connections:
            self.gone(connection)
        return connections
