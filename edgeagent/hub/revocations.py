"""Who is kept out: KV ``edge_revocations``, key ``<ACCOUNT>.<public user key>``; the accounts' JWTs are made to agree with it.

The record is written before anything is pushed, so that a hub that dies in between, or loses the folder where its nats-server keeps
JWTs, refuses again what was refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from edgeagent.hub.accounts import Account
from edgeagent.hub.bucket import Bucket
from edgeagent.hub.streams import REVOCATIONS_BUCKET
from edgeagent.link import Client
from edgeagent.wire import VERSION

__all__ = ["Revocation", "Revocations", "ends_at", "in_force", "lifted", "merged"]


class Revocation(msgspec.Struct, omit_defaults=True):
    """JWTs of one key that were issued up to and in the second ``until`` (Unix) are refused.

    floor: the part of ``until`` that comes from a change of groups, which letting the key in again does not lift.
    forget_at: when the last JWT that it hits has expired, Unix seconds: it is of no use from then on; 0 = never.
    name, reason: for people.
    """

    until: int
    floor: int = 0
    forget_at: int = 0
    name: str = ""
    reason: str = ""
    v: int = VERSION


def in_force(records: Mapping[str, Revocation], now: float) -> dict[str, dict[str, int]]:
    """``{account: {public user key: until}}``, as :meth:`Keyring.account_jwts` wants it. records: by the bucket's keys."""
    wanted: dict[str, dict[str, int]] = {}
    for key, record in sorted(records.items()):
        account, _, public = key.partition(".")
        if not _is_over(record, now) and record.until > 0:
            wanted.setdefault(account, {})[public] = record.until
    return wanted


def merged(kept: Revocation | None, new: Revocation) -> Revocation:
    """Both at once: whatever either of them refuses is refused, and remembered for as long as either wants."""
    if kept is None:
        return new
    return Revocation(
        until=max(kept.until, new.until),
        floor=max(kept.floor, new.floor),
        forget_at=0 if 0 in (kept.forget_at, new.forget_at) else max(kept.forget_at, new.forget_at),
        name=new.name or kept.name,
        reason=new.reason or kept.reason,
    )


def lifted(kept: Revocation) -> Revocation | None:
    """What stays when the key is let in again: the floor, None if there is none."""
    return msgspec.structs.replace(kept, until=kept.floor, reason="") if kept.floor else None


def ends_at(keys: Iterable[int]) -> int:
    """When the last of several JWTs ends: the latest of their ends, 0 (never) when one of them never does."""
    ends = list(keys)
    return 0 if not ends or 0 in ends else max(ends)


def _is_over(record: Revocation, now: float) -> bool:
    return 0 < record.forget_at <= now


class Revocations:
    """The bucket. hub: a connection to the account HUB. Every method raises EdgeError when it does not answer."""

    def __init__(self, hub: Client) -> None:
        self._bucket = Bucket(hub, REVOCATIONS_BUCKET, Revocation)

    async def add(self, account: Account, public: str, new: Revocation) -> None:
        """Add to what is refused of that key."""
        what = f"revoke {new.name or public}"

        def made(kept: Revocation | None) -> Revocation | None:
            both = merged(kept, new)
            return None if both == kept else both

        await self._bucket.change(f"{account}.{public}", made, what=what)

    async def lift(self, account: Account, public: str) -> None:
        """Let the key in again, but for what :attr:`Revocation.floor` says. Nothing happens when it is not kept out."""
        key, what = f"{account}.{public}", f"let {public} in again"
        found = await self._bucket.find(key)
        if found is None:
            return
        if lifted(found[0]) is None:
            await self._bucket.remove(key, found[1], what=what)
        else:
            await self._bucket.change(key, lambda kept: lifted(kept) if kept else None, what=what)

    async def in_force(self, now: float) -> dict[str, dict[str, int]]:
        """Like :func:`in_force`; those that are over are removed. now: Unix seconds."""
        found = await self._bucket.all()
        for key, (record, sequence) in found.items():
            if _is_over(record, now):
                await self._bucket.remove(key, sequence, what=f"forget the revocation of {record.name or key}")
        return in_force({key: record for key, (record, _) in found.items()}, now)
