"""The register of people: KV ``edge_people``, one record a name, and what administrators may order about them.

People's credentials are signed elsewhere, with keys that the hub does not have; it is told of them afterwards, so that it can list
them and keep them out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec

from edgeagent import subjects, wire
from edgeagent.administration import Person, RevokePerson, refused_until
from edgeagent.errors import Refused, UsageProblem
from edgeagent.hub import events
from edgeagent.hub.accounts_keeper import AccountsKeeper
from edgeagent.hub.administration import Handler
from edgeagent.hub.bucket import Bucket
from edgeagent.hub.revocations import Revocation, Revocations
from edgeagent.hub.streams import PEOPLE_BUCKET
from edgeagent.link import Client
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import is_public

__all__ = ["MAX_OLDER", "People", "keys_of", "person_of", "registered"]

#: How many former keys of one person are remembered, which is sixteen years of monthly logins, and what a record has room for.
MAX_OLDER = 200
#: Characters; a longer reason would not fit into the record of what is refused.
MAX_REASON = 200


def registered(kept: Person | None, new: Person, now: float) -> Person:
    """What the register says of somebody who was given another login. What it said of older ones is not forgotten: they still sign.

    now: Unix seconds.
    """
    if kept is None or (kept.key == new.key and kept.issued_at > new.issued_at):
        return kept or msgspec.structs.replace(new, older={}, kept_out=[])
    older = _newest({key: ends for key, ends in keys_of(kept).items() if key != new.key})
    kept_out = [key for key in kept.kept_out if key == new.key or _is_good(older.get(key, 1), now)]
    revoked = new.key in kept_out or (kept.key == new.key and kept.revoked)
    return msgspec.structs.replace(new, older=older, kept_out=kept_out, revoked=revoked, reason=kept.reason if revoked else "")


def _newest(keys: Mapping[str, int]) -> dict[str, int]:
    """Those that end last, at most :data:`MAX_OLDER`."""
    by_end = sorted(keys.items(), key=lambda item: (item[1] == 0, item[1]))
    return dict(by_end[-MAX_OLDER:])


def _is_good(ends: int, now: float) -> bool:
    return ends == 0 or ends > now


def keys_of(person: Person) -> dict[str, int]:
    """Every key of the person -> when its JWT ends, Unix seconds; 0 = never."""
    return {**person.older, person.key: person.expires_at}


def person_of(login: Credentials, role: str, groups: Sequence[str] = (), actions: Sequence[str] = ()) -> Person:
    """What the register says of somebody who was given ``login``; nothing of it is secret."""
    return Person(
        name=login.name,
        role=role,
        key=login.public_key,
        groups=list(groups),
        actions=list(actions),
        issued_at=login.issued_at,
        expires_at=login.expires_at or 0,
    )


class People:
    """hub: a connection to the account HUB. keeper: makes the accounts true."""

    def __init__(self, hub: Client, keeper: AccountsKeeper) -> None:
        self._hub, self._keeper = hub, keeper
        self._bucket, self._revocations = Bucket(hub, PEOPLE_BUCKET, Person), Revocations(hub)

    def handlers(self) -> Mapping[str, Handler]:
        return {"people_register": self._register, "operator_revoke": self._revoke}

    async def _register(self, user: str, body: bytes) -> Person:
        return await self.register(user, wire.decode(body, Person))

    async def register(self, user: str, new: Person) -> Person:
        """Take a person in, as ``user`` says; what the register says now. Raises EdgeError."""
        what = f"register {new.name!r}"
        if not subjects.is_token(new.name) or not is_public(new.key, "user"):
            raise UsageProblem(what, "its name or key is none")
        made = await self._bucket.change(new.name, lambda kept: registered(kept, new, time.time()), what=what)
        of = f" of {', '.join(new.groups)}" if new.groups else ""
        text = f"{user} let {new.name} in as {new.role}{of}"
        await events.tell(self._hub, "info", "person.registered", text, user=user, name=new.name, role=new.role, key=new.key)
        return made or new

    async def _revoke(self, user: str, body: bytes) -> Person:
        order = wire.decode(body, RevokePerson)
        if order.who == user:
            raise Refused(
                f"revoke {user}",
                "that would lock yourself out, and nobody would hear of it",
                "name the key of the login that was lost, or ask another administrator",
            )
        person = await self._whose(order.who)
        keys = keys_of(person) if person.name == order.who else {order.who: keys_of(person).get(order.who, 0)}
        reason = order.reason[:MAX_REASON] or f"by {user}"
        # Those that have expired, too: this clock may be ahead. What is of no use is not kept for long (edgeagent.hub.refusals).
        for key, ends in keys.items():
            until = refused_until(person, time.time())
            await self._revocations.add(
                "OPS", key, Revocation(until=until, forget_at=ends, name=person.name or key, reason=reason)
            )
        good = [key for key, ends in keys.items() if _is_good(ends, time.time())]
        marked = await self._mark(person, keys, reason)
        await self._keeper.apply()
        text = f"{user} revoked {person.name or order.who} ({reason})"
        await events.tell(self._hub, "warning", "person.revoked", text, user=user, name=person.name, keys=good)
        return marked

    async def _whose(self, who: str) -> Person:
        """The person of that name or key. A key that is not registered is somebody of no name."""
        people = {name: person for name, (person, _) in (await self._bucket.all()).items()}
        if who in people:
            return people[who]
        if not is_public(who, "user"):
            known = ", ".join(sorted(people)) or "nobody"
            raise UsageProblem(
                f"revoke {who!r}", f"the hub knows no such person (it knows {known})", "name the public key instead (U...)"
            )
        return next((person for person in people.values() if who in keys_of(person)), Person(name="", role="", key=who))

    async def _mark(self, person: Person, keys: Mapping[str, int], reason: str) -> Person:
        def made(kept: Person | None) -> Person | None:
            if kept is None:
                return None
            good = [key for key, ends in keys.items() if key not in kept.kept_out and _is_good(ends, time.time())]
            revoked = kept.revoked or kept.key in keys
            if not good and revoked == kept.revoked:
                return None
            why = reason if revoked and not kept.revoked else kept.reason
            return msgspec.structs.replace(kept, revoked=revoked, reason=why, kept_out=[*kept.kept_out, *good])

        if not person.name:
            return person
        return await self._bucket.change(person.name, made, what=f"revoke {person.name}") or person
