"""The rules of the hub's certificates: which authority signs, which are handed out, when a new one is due. Pure.

All times are aware. A Pi without a clock battery boots in the past, so whatever is made here is valid since 2020.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import msgspec

from edgeagent.trust.validity import AUTHORITY_LIFE, SERVER_LIFE, START

__all__ = [
    "AUTHORITY_LIFE",
    "SERVER_LIFE",
    "START",
    "Authority",
    "Issued",
    "State",
    "authority_due",
    "covers",
    "current",
    "next_authority",
    "server_due",
    "server_ends",
    "signer",
    "signing_since",
]

#: How long an authority is handed out before it signs: by then every device that is now and then online has it. And how long it has
#: signed before those before it are no longer handed out, should the hub's clock go back.
SPREAD = timedelta(days=30)
#: A new authority is made when less than this is left of the newest.
AUTHORITY_DUE = timedelta(days=365)


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate authority. number: 1, 2, ...; the larger the newer. signs_from: before that it is only handed out."""

    number: int
    made: datetime
    signs_from: datetime
    ends: datetime


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """The server's certificate. authority: the number of the one that signed it. names: sorted.

    since: when that authority signed the first one, others not in between; None in what older software wrote: unknown, so as ``made``.
    """

    authority: int
    made: datetime
    ends: datetime
    names: tuple[str, ...]
    since: datetime | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All that was made. server: None before the first certificate."""

    authorities: tuple[Authority, ...] = ()
    server: Issued | None = None


def signer(authorities: Sequence[Authority], now: datetime) -> Authority | None:
    """The authority that signs now: the newest that may, else the oldest, which most devices have; None when none is valid."""
    valid = sorted((one for one in authorities if one.ends > now), key=lambda one: one.number)
    ready = [one for one in valid if one.signs_from <= now]
    return ready[-1] if ready else valid[0] if valid else None


def current(state: State, now: datetime) -> list[Authority]:
    """Those that are handed out: the one that signs, all newer ones, and those before it until it has signed for a while.

    A clock may be wrong by years for an hour, and a device that was told to forget an authority in that hour is outside when the clock is
    right again. So one look at it retires nothing: the certificates must have been the newer one's for a month. Until then an older
    authority is handed out although it has ended by that clock.
    """
    signing = signer(state.authorities, now)
    if signing is None:
        return []
    in_use = state.server
    retired = in_use is not None and in_use.authority == signing.number and (in_use.since or in_use.made) + SPREAD <= now
    return [one for one in state.authorities if one.number >= signing.number or not retired]


def authority_due(authorities: Sequence[Authority], now: datetime) -> bool:
    """Whether a new authority is to be made: there is none, or the newest ends within a year. So by one clock at most one in 19 years."""
    return not any(one.ends - now > AUTHORITY_DUE for one in authorities)


def next_authority(authorities: Sequence[Authority], now: datetime, *, at_once: bool = False) -> Authority:
    """The authority to make now. at_once: it signs from now on; so does one whose predecessors have all ended, and the first one always.

    When they have ended only because the clock is wrong, they sign again once it is right: the new one's time has not come then.
    """
    number = max((one.number for one in authorities), default=0) + 1
    at_once = at_once or signer(authorities, now) is None
    return Authority(
        number=number,
        made=now,
        signs_from=START if not authorities else now if at_once else now + SPREAD,
        ends=now + AUTHORITY_LIFE,
    )


def signing_since(before: Issued | None, authority: int, now: datetime) -> datetime:
    """What :attr:`Issued.since` is for a certificate that ``authority`` signs now. before: the certificate that it replaces."""
    return (before.since or before.made) if before and before.authority == authority else now


def server_ends(authority: Authority, now: datetime) -> datetime:
    """When a certificate that ``authority`` signs now ends: never after its authority."""
    return min(now + SERVER_LIFE, authority.ends)


def server_due(state: State, names: Collection[str], now: datetime) -> str:
    """Why a new server certificate is to be made; empty when the one that there is will do."""
    made, signing = state.server, signer(state.authorities, now)
    if made is None:
        return "there is none"
    if signing is None or made.authority != signing.number:
        return "another authority signs now"
    if not set(names) <= set(made.names):  # one that went away, such as an address without its network, may come back
        return "the hub's names changed"
    # Since it was made, not since it is valid: that is 2020.
    if made.ends - now < (made.ends - made.made) / 3:
        return "less than a third of its time is left"
    return ""


def covers(names: Collection[str], host: str) -> bool:
    """Whether a certificate for ``names`` is good for ``host``. ``*`` stands for exactly one label, the first (RFC 6125, 6.4.3)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        wanted = host.lower().rstrip(".")
        wild = f"*.{wanted.partition('.')[2]}"
        return any(name.lower().rstrip(".") in (wanted, wild) for name in names)
    return any(_address(name) == address for name in names)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
