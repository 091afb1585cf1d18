"""Who is kept out: KV ``edge_revocations``, key ``<ACCOUNT>.<public user key>``; the accounts' JWTs are made to agree with it.

The record is written before anything is pushed, so that a hub that dies in between, or loses the folder where its nats-server keeps
JWTs, refuses again what was refused. What is made of it, and when a record goes: :mod:`edgeagent.hub.refusals`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import msgspec

from edgeagent.errors import Failed, Refused
from edgeagent.hub.accounts import Account
from edgeagent.hub.bucket import PREFIX, Bucket
from edgeagent.hub.streams import REVOCATIONS_BUCKET
from edgeagent.link import Client
from edgeagent.patience import asked
from edgeagent.wire import VERSION

__all__ = ["LIMIT", "SPARE", "Revocation", "Revocations", "ends_at", "in_force", "is_over", "lifted", "merged", "missing"]

#: How many one account can have: nats-server 2.15.1 takes no JWT of more than 1 MiB, and each is 94 bytes of it.
LIMIT = 10_500
#: Of these, a change of groups leaves so many to those who are kept out because of themselves.
SPARE = 2_500
#: What one takes in the bucket, in bytes, with a name and a reason of some length.
_RECORD_BYTES = 300


class Revocation(msgspec.Struct, omit_defaults=True):
    """JWTs of one key that were issued up to and in the second ``until`` (Unix) are refused.

    floor: the part of ``until`` that comes from a change of groups, which letting the key in again does not lift.
    forget_at: when the last JWT that it hits has expired, Unix seconds: it is of no use from then on; 0 = never.
    lifted: an order let in what was refused up to then, Unix seconds; 0: none did. A server that still refuses it has not heard.
    name, reason: for people.
    """

    until: int
    floor: int = 0
    forget_at: int = 0
    lifted: int = 0
    name: str = ""
    reason: str = ""
    v: int = VERSION


def in_force(records: Mapping[str, Revocation]) -> dict[str, dict[str, int]]:
    """``{account: {public user key: until}}``, as :meth:`Keyring.account_jwts` wants it. records: by the bucket's keys.

    At most :data:`LIMIT` of one account: an account with more could not be pushed, and then nobody could be kept out any more. First
    those that change groups go, then those whose JWTs end first, then the oldest.
    """
    accounts: dict[str, list[tuple[str, Revocation]]] = {}
    for key, record in sorted(records.items()):
        account, _, public = key.partition(".")
        if record.until > 0:
            accounts.setdefault(account, []).append((public, record))
    return {account: {public: record.until for public, record in _fitting(found)} for account, found in accounts.items()}


def _fitting(found: list[tuple[str, Revocation]]) -> list[tuple[str, Revocation]]:
    def rank(item: tuple[str, Revocation]) -> tuple[bool, float, int]:
        record = item[1]
        return record.until > record.floor, record.forget_at or float("inf"), record.until

    return found if len(found) <= LIMIT else sorted(found, key=rank, reverse=True)[:LIMIT]


def missing(records: Mapping[str, Revocation], at_server: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """What a server refuses and the records know nothing of: the bucket's key -> until. Then the bucket is older than the server's JWTs.

    at_server: as :func:`in_force`.
    """
    found = {f"{account}.{public}": until for account, keys in at_server.items() for public, until in keys.items()}
    nothing = Revocation(until=0)
    return {
        key: until
        for key, until in found.items()
        if until > max(records.get(key, nothing).until, records.get(key, nothing).lifted)
    }


def merged(kept: Revocation | None, new: Revocation) -> Revocation:
    """Both at once: whatever either of them refuses is refused, and remembered for as long as either wants."""
    if kept is None:
        return new
    return Revocation(
        until=max(kept.until, new.until),
        floor=max(kept.floor, new.floor),
        forget_at=0 if 0 in (kept.forget_at, new.forget_at) else max(kept.forget_at, new.forget_at),
        lifted=max(kept.lifted, new.lifted),
        name=new.name or kept.name,
        reason=new.reason or kept.reason,
    )


def lifted(kept: Revocation) -> Revocation:
    """What stays when the key is let in again: the floor, and that somebody ordered so."""
    if kept.until <= kept.floor:
        return kept
    return msgspec.structs.replace(kept, until=kept.floor, lifted=max(kept.lifted, kept.until), reason="")


def ends_at(keys: Iterable[int]) -> int:
    """When the last of several JWTs ends: the latest of their ends, 0 (never) when one of them never does."""
    ends = list(keys)
    return 0 if not ends or 0 in ends else max(ends)


def is_over(record: Revocation, time: float) -> bool:
    """Whether it is of no use any more. time: Unix seconds, that of a clock that does not jump."""
    return 0 < record.forget_at <= time


class Revocations:
    """The bucket. hub: a connection to the account HUB. Every method raises EdgeError when it does not answer."""

    def __init__(self, hub: Client) -> None:
        self._hub, self._bucket = hub, Bucket(hub, REVOCATIONS_BUCKET, Revocation)

    async def all(self) -> dict[str, tuple[Revocation, int]]:
        """Every record and its sequence, by the bucket's keys."""
        return {key: found for key, found in (await self._bucket.all()).items() if "." in key}

    async def add(self, account: Account, public: str, new: Revocation) -> None:
        """Add to what is refused of that key."""
        await self.add_at(f"{account}.{public}", new)

    async def add_at(self, key: str, new: Revocation) -> Revocation:
        """Like :meth:`add`, by the bucket's key; what is refused now."""
        now = new

        def made(kept: Revocation | None) -> Revocation | None:
            nonlocal now
            now = merged(kept, new)
            return None if now == kept else now

        await self._bucket.change(key, made, what=f"revoke {new.name or key}")
        return now

    async def take(self, key: str, new: Revocation) -> Revocation:
        """Like :meth:`add_at`, for what a server refuses; not what was let in again meanwhile."""
        found = await self._bucket.find(key)
        if found and not missing({key: found[0]}, in_force({key: new})):
            return found[0]
        return await self.add_at(key, new)

    async def lift(self, account: Account, public: str) -> None:
        """Let the key in again, but for what :attr:`Revocation.floor` says. Nothing happens when it is not kept out."""

        def made(kept: Revocation | None) -> Revocation | None:
            return None if kept is None or lifted(kept) == kept else lifted(kept)

        await self._bucket.change(f"{account}.{public}", made, what=f"let {public} in again")

    async def remove(self, key: str, sequence: int) -> None:
        """Forget the record with ``sequence``; a newer one stays."""
        await self._bucket.remove(key, sequence, what=f"forget the revocation of {key}")

    async def check_room(self, account: Account, more: int, what: str) -> None:
        """Raise Refused unless there is room for so many more changes of groups. what: as for :class:`EdgeError`."""
        answer = await asked(self._hub, f"{PREFIX}.STREAM.INFO.KV_{REVOCATIONS_BUCKET}", b"", what=what)
        found = json.loads(answer.data)
        if error := found.get("error"):
            raise Failed(what, str(error.get("description")))
        records = [key for key, (record, _) in (await self.all()).items() if key.startswith(f"{account}.") and record.until > 0]
        room = _room(len(records), found["state"]["bytes"], found["config"]["max_bytes"])
        if more > room:
            raise Refused(
                what,
                f"each takes a place in the hub's list of revocations, which has room for {room} more",
                "do it with fewer at a time: a place is free when the device's former login has expired",
            )


def _room(records: int, used_bytes: int, max_bytes: int) -> int:
    """How many more changes of groups there is room for. max_bytes: -1 for no limit."""
    stored = LIMIT if max_bytes < 0 else (max_bytes - used_bytes) // _RECORD_BYTES
    return max(0, min(LIMIT - SPARE - records, stored))
