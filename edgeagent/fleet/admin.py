"""Ordering the hub's services about, as an administrator: devices, people, and whatever else the hub has a handler for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from edgeagent import services, subjects, wire
from edgeagent.administration import (
    ChangeGroups,
    ChangeLabels,
    Done,
    Forget,
    Outcomes,
    Person,
    Revoke,
    RevokePerson,
    Unrevoke,
)
from edgeagent.direct import read_all
from edgeagent.errors import EdgeError, Refused, StoreFull, Unreachable, UsageProblem
from edgeagent.fleet.client import Fleet
from edgeagent.fleet.fields import nearest
from edgeagent.link import Client, Unanswered, request
from edgeagent.patience import Patience, patiently
from edgeagent.subjects import Scope

__all__ = ["Admin", "check_known", "connected", "forget_configuration", "people"]

T = TypeVar("T")

#: What was asked for, for errors.
_WORDS = {
    "audit": "read the audit",
    "device_revoke": "revoke devices",
    "device_unrevoke": "let devices in again",
    "device_forget": "forget devices",
    "device_groups": "change groups",
    "device_labels": "change labels",
    "operator_revoke": "revoke somebody's logins",
    "people_register": "register somebody's login",
    "token_create": "make a token",
    "token_ls": "list the tokens",
    "token_revoke": "revoke tokens",
}

#: A push to a server with thousands of leafs takes seconds, and an order about thousands of devices a minute.
PATIENCE_SECONDS = 120.0
#: In a cluster an order is given once more after that long without an answer, in seconds: it may have died with the server that took it. Each
#: of them may be done twice.
QUICK_SECONDS, AGAIN_SECONDS = 3.0, 30.0
#: How often to look whether the server has said meanwhile that it is not allowed, in seconds: it says so beside the request.
LOOK_SECONDS = 0.05


class Admin:
    """client: a person's connection, as :class:`Fleet` has it. Only the role admin is listened to; others get Refused."""

    def __init__(self, client: Client) -> None:
        user = subjects.reply_user(client.new_inbox())
        if user is None:
            raise UsageProblem("order the hub about", "this is not a person's connection")
        self._client, self.user = client, user

    async def ask(self, what: str, order: msgspec.Struct, shape: type[T]) -> T:
        """Send ``order`` to the handler ``what``; its answer as ``shape`` (``type(None)`` where it only says that it is done).

        Raises what the handler raised; Refused without the role admin, Unreachable when no hub's services run.
        """
        subject, doing = subjects.admin(self.user, what), _WORDS.get(what, "have the hub do that")
        asking = asyncio.ensure_future(self._answer(what, subject, wire.encode(order), doing))
        try:
            while not (await asyncio.wait({asking}, timeout=LOOK_SECONDS))[0]:
                self._check_allowed(doing, subject)
            return services.result((await asking).data, shape)
        except StoreFull as error:
            raise StoreFull(doing, error.why, error.remedy) from None
        except Unreachable as error:
            if error.remedy:
                raise
            raise Unreachable(error.what, error.why, "is `edgeagent hub up` running?") from None
        finally:
            asking.cancel()

    async def _answer(self, what: str, subject: str, order: bytes, doing: str) -> Any:
        """In a cluster it is asked again when nobody listens for a moment, and once more when whoever works on it may have died."""
        beside = AGAIN_SECONDS if what.startswith("device_") else QUICK_SECONDS

        async def ask(seconds: float) -> Any:
            return await self._asked(subject, order, doing, seconds)

        patience = PATIENCE_SECONDS + 1.5 * beside
        return await patiently(self._client, ask, timeout=PATIENCE_SECONDS, beside=beside, patience=patience)

    async def _asked(self, subject: str, order: bytes, doing: str, seconds: float) -> Any:
        patience = Patience(self._client)
        while True:
            try:
                return await request(self._client, subject, order, what=doing, timeout=seconds)
            except Unanswered:
                raise
            except Unreachable:
                if not await patience.again():
                    raise

    def _check_allowed(self, what: str, subject: str) -> None:
        said = str(self._client.last_error or "").lower()
        if "permissions violation" in said and f'"{subject}"'.lower() in said:
            raise Refused(what, f"this needs the role admin, which {self.user} does not have")

    async def revoke(self, ids: Sequence[str], reason: str = "") -> dict[str, Done]:
        """Keep the devices out; when it returns they are cut off."""
        return (await self.ask("device_revoke", Revoke(ids=list(ids), reason=reason), Outcomes)).devices

    async def unrevoke(self, ids: Sequence[str]) -> dict[str, Done]:
        """Let the devices in again; they come back by themselves."""
        return (await self.ask("device_unrevoke", Unrevoke(ids=list(ids)), Outcomes)).devices

    async def forget(self, ids: Sequence[str]) -> dict[str, Done]:
        """Keep the devices out, and remove what the hub knows of them. Their own configuration stays: :func:`forget_configuration`."""
        return (await self.ask("device_forget", Forget(ids=list(ids)), Outcomes)).devices

    async def change_groups(self, ids: Sequence[str], *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> dict[str, Done]:
        """The devices link anew, with a JWT for their new groups that they ask for themselves."""
        order = ChangeGroups(ids=list(ids), add=list(add), remove=list(remove))
        return (await self.ask("device_groups", order, Outcomes)).devices

    async def change_labels(
        self, ids: Sequence[str], *, set: Mapping[str, str] | None = None, remove: Sequence[str] = ()
    ) -> dict[str, Done]:
        """The devices learn of it at once if they are online."""
        order = ChangeLabels(ids=list(ids), set=dict(set or {}), remove=list(remove))
        return (await self.ask("device_labels", order, Outcomes)).devices

    async def revoke_person(self, who: str, reason: str = "") -> Person:
        """Keep a person out, by name (every login) or by one public key; what the register says now."""
        return await self.ask("operator_revoke", RevokePerson(who=who, reason=reason), Person)

    async def register_person(self, person: Person) -> Person:
        """Tell the hub of credentials that were made; what the register says now."""
        return await self.ask("people_register", person, Person)


@contextlib.asynccontextmanager
async def connected(context: str | None = None) -> AsyncIterator[tuple[Fleet, Admin]]:
    """A connection as the person of the context. context: None: the current one."""
    async with Fleet(context) as fleet:
        yield fleet, Admin(fleet.client)


async def people(client: Client) -> list[Person]:
    """The register of people, by name. Every role may read it."""
    stored = read_all(client, "KV_edge_people", subjects.kv("edge_people", ">"))
    newest = {item.subject: wire.decode(item.data, Person) async for item in stored}  # older ones of a name come before
    return sorted(newest.values(), key=lambda person: person.name)


async def forget_configuration(fleet: Fleet, ids: Iterable[str]) -> dict[str, str]:
    """Empty the document that is each device's own, which else waits for whoever gets the id next. The hub cannot sign, a person can.

    By id what went wrong with it; empty for those that have none now. Raises nothing of one device's.
    """
    problems = {}
    for device in ids:
        try:
            await fleet.config.replace(Scope.device(device), {}, note="forgotten", force=True)
        except EdgeError as error:
            problems[device] = error.why
        else:
            problems[device] = ""
    return problems


async def check_known(fleet: Fleet, ids: Sequence[str]) -> None:
    """Raise UsageProblem for ids that the register does not know, with those that come near."""
    known = {device for device, found in (await fleet.roster()).devices.items() if found.record}
    for device in ids:
        if device not in known:
            near = nearest(device, known)
            raise UsageProblem(f"change {device!r}", "the hub knows no such device", near or "`edgeagent device ls` shows all")
