"""What the accounts are to refuse: the record of revocations, and what puts it right when the store is older than the rest of the hub.

Three rules. What a server refuses is taken into the record unless somebody lifted it there; what the registers say is refused is in
the record; and nothing leaves the record because of one look at the system's clock.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import NamedTuple

import msgspec

from edgeagent import wire
from edgeagent.administration import Person, refused_until
from edgeagent.errors import EdgeError
from edgeagent.hub import register
from edgeagent.hub.bucket import Bucket
from edgeagent.hub.keyring import DEVICE_SECONDS
from edgeagent.hub.revocations import LIMIT, SPARE, Revocation, Revocations, in_force, is_over, missing
from edgeagent.hub.runningclock import RunningClock
from edgeagent.hub.streams import PEOPLE_BUCKET
from edgeagent.link import Client

__all__ = ["Refusals", "owed_by_device", "owed_by_person"]

log = logging.getLogger("edgeagent.hub")

#: In the accounts HUB and SYS there is nobody but the hub itself.
_TAKEN = ("FLEET", "OPS", "PROVISION")
#: From so many of an account on, to be heard before no more fit.
WARN_AT = LIMIT - SPARE
#: Writes that are under way together.
_AT_ONCE = 64

Records = dict[str, "tuple[Revocation, int]"]


class _Registers(NamedTuple):
    devices: Mapping[str, wire.DeviceRecord]
    people: Mapping[str, Person]

    def ends(self) -> dict[str, int]:
        """The bucket's key -> when the last known JWT of it ends; 0 = never."""
        devices = {f"FLEET.{key}": end for one in self.devices.values() for key, end in register.keys_of(one).items()}
        people = {
            f"OPS.{key}": end for one in self.people.values() for key, end in {**one.older, one.key: one.expires_at}.items()
        }
        return {**devices, **people}

    def held(self) -> set[str]:
        """Which records may not go, by the bucket's keys: who is revoked stays out, whatever the record knows of its JWTs."""
        return {f"FLEET.{key}" for one in self.devices.values() if one.revoked for key in register.keys_of(one)}


def owed_by_device(record: wire.DeviceRecord, now: float, time: float) -> dict[str, tuple[int, Revocation]]:
    """By the bucket's keys: the least ``until`` and ``floor`` that will do, and the revocation to write where there is less.

    now, time: Unix seconds, by the system's clock and by one that does not jump.
    """
    keys = register.keys_of(record)
    long_lived = any(ends == 0 or ends > time + DEVICE_SECONDS for ends in keys.values())
    floor = record.refused_until if long_lived or time < record.refused_until + DEVICE_SECONDS else 0
    if not record.revoked and not floor:
        return {}
    until = max(int(now), record.issued_at) if record.revoked else floor
    least = max(record.issued_at, floor, 1) if record.revoked else floor
    refused = Revocation(until=until, floor=floor, name=record.id, reason=record.reason)
    owed = {f"FLEET.{key}": (least, msgspec.structs.replace(refused, forget_at=ends)) for key, ends in keys.items()}
    if record.revoked:  # its renewal logins, too, which never end
        owed.update({f"PROVISION.{key}": (least, msgspec.structs.replace(refused, floor=0)) for key in keys})
    return owed


def owed_by_person(person: Person, now: float, time: float) -> dict[str, tuple[int, Revocation]]:
    """Like :func:`owed_by_device`. What has expired is left out: a person's key has one JWT, whose end is known."""
    keys = {**person.older, person.key: person.expires_at}
    out = {*person.kept_out, *([person.key] if person.revoked else [])}
    return {
        f"OPS.{key}": (
            max(1, person.issued_at if key == person.key else 1),
            Revocation(until=refused_until(person, now), forget_at=ends, name=person.name, reason=person.reason),
        )
        for key, ends in keys.items()
        if key in out and (ends == 0 or ends > time)
    }


class Refusals:
    """hub: a connection to the account HUB. own: public keys of the hub's own logins, which nothing a server says keeps out.

    clock: see :class:`RunningClock`. now: Unix seconds.
    """

    def __init__(self, hub: Client, clock: RunningClock, *, own: Callable[[], Collection[str]], now: Callable[[], float]) -> None:
        self._hub, self._clock, self._own, self._now = hub, clock, own, now
        self._revocations = Revocations(hub)
        self._is_derived = False
        self._warned: set[str] = set()
        self._held: set[str] = set()

    async def read(self) -> Records:
        """What the record says; to be read before the server is asked: a record goes after the server has let go of it, never before."""
        return await self._revocations.all()

    async def in_force(self, found: Records, at_server: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
        """``{account: {public user key: until}}``: what is to be pushed. at_server: the same of what the server has.

        Raises EdgeError when the store does not answer.
        """
        records = {key: record for key, (record, _) in found.items()}
        theirs = {account: keys for account, keys in at_server.items() if account in _TAKEN}
        records.update(await self._taken(missing(records, theirs)))
        records.update(await self._derived(records))
        over = await self._over(records)
        refused_there = {f"{account}.{public}" for account, keys in at_server.items() for public in keys}
        for key in over - refused_there:
            if key in found:
                await self._revocations.remove(key, found[key][1])
        records = {key: record for key, record in records.items() if key not in over}
        self._warn(records)
        return in_force(records)

    async def _taken(self, lost: Mapping[str, int]) -> dict[str, Revocation]:
        """Take what the server refuses into the record: the store was lost, or is older than the server's accounts."""
        own = self._own()
        lost = {key: until for key, until in lost.items() if key.partition(".")[2] not in own}
        if not lost:
            return {}
        ends, now = (await self._registers()).ends(), int(self._now())
        log.warning("the server refuses %d keys of which the hub's store does not know; they stay refused", len(lost))

        def taken(key: str) -> Revocation:
            # The registers may be as old as the record, so that a later JWT of that key is unknown.
            return Revocation(until=lost[key], forget_at=max(ends[key], now + DEVICE_SECONDS) if ends.get(key) else 0)

        return await _each({key: taken(key) for key in lost}, self._revocations.take)

    async def _derived(self, records: Mapping[str, Revocation]) -> dict[str, Revocation]:
        """Write what the registers say is refused and the record does not, once: after that whoever writes the one writes the other."""
        if self._is_derived:
            return {}
        try:
            devices, people = await self._registers()
            now, time = self._now(), await self._clock.time()
            owed = {}
            for device in devices.values():
                owed.update(owed_by_device(device, now, time))
            for person in people.values():
                owed.update(owed_by_person(person, now, time))
            less = {key: new for key, (least, new) in owed.items() if _is_less(records.get(key), least, new)}
            less = await _each(less, self._revocations.add_at)
            self._is_derived = True
        except EdgeError as error:  # what is known already is pushed meanwhile
            log.warning("cannot compare the registers with the revocations: %s", error)
            return {}
        if less:
            log.warning("%d keys are refused again: the registers say so, and the store did not", len(less))
        return less

    async def _over(self, records: Mapping[str, Revocation]) -> set[str]:
        """Those that are of no use any more, by a clock that does not jump and with the registers' consent."""
        time = await self._clock.time()
        over = {key for key, record in records.items() if is_over(record, time)}
        if over - self._held:
            self._held = (await self._registers()).held()
        return over - self._held

    async def _registers(self) -> _Registers:
        people = await Bucket(self._hub, PEOPLE_BUCKET, Person).all()
        return _Registers(await register.every(self._hub), {name: person for name, (person, _) in people.items()})

    def _warn(self, records: Mapping[str, Revocation]) -> None:
        """Once, until it is otherwise for a while."""
        counts = Counter(key.partition(".")[0] for key, record in records.items() if record.until > 0)
        many = {account: count for account, count in counts.items() if count >= WARN_AT}
        for account in many.keys() - self._warned:
            log.warning("%d keys are revoked in %s; more than %d cannot be kept out", many[account], account, LIMIT)
        self._warned = set(many)


async def _each(
    new: Mapping[str, Revocation], write: Callable[[str, Revocation], Awaitable[Revocation]]
) -> dict[str, Revocation]:
    """Write many, some at a time; what is kept now."""
    kept: dict[str, Revocation] = {}
    keys = list(new)
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        kept.update(zip(some, await asyncio.gather(*(write(key, new[key]) for key in some)), strict=True))
    return kept


def _is_less(kept: Revocation | None, least: int, new: Revocation) -> bool:
    return kept is None or kept.until < least or kept.floor < new.floor
