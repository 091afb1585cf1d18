"""``Fleet``: the operator's side of edgeagent in Python, async; :class:`~edgeagent.fleet.sync.SyncFleet` is the same without await."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent import context as contexts
from edgeagent import files, places, subjects, wire
from edgeagent.cel import Evaluator
from edgeagent.direct import get_last
from edgeagent.enrolment import Authorities
from edgeagent.errors import EdgeError, Refused, UsageProblem
from edgeagent.fleet import fields as field_names
from edgeagent.fleet.ask import Asker, Question
from edgeagent.fleet.commands import Commands
from edgeagent.fleet.config import Configuration
from edgeagent.fleet.data import Data
from edgeagent.fleet.events import EventLog
from edgeagent.fleet.files import Files
from edgeagent.fleet.metrics import Metrics
from edgeagent.fleet.outcome import Outcome, Row
from edgeagent.fleet.rolekeys import RoleKeys
from edgeagent.fleet.roster import Roster, read_roster
from edgeagent.fleet.selector import Selector
from edgeagent.fleet.suspects import Suspects
from edgeagent.fleet.upgrades import Upgrades
from edgeagent.fleet.watch import Change, watch
from edgeagent.link import Client, connect
from edgeagent.registry import Field
from edgeagent.trust import creds
from edgeagent.trust.pins import Pins

if TYPE_CHECKING:
    from edgeagent.fleet.sync import SyncFleet

__all__ = ["Fleet"]

#: nats-py may wait for ever for a connection that is just being lost, in seconds: whoever pressed Ctrl-C does not.
CLOSE_SECONDS = 5.0
#: The JetStream domain of every hub.
HUB_DOMAIN = "hub"


class Fleet:
    """A connection to a hub, as the person whose credentials the context names.

    >>> async with Fleet() as fleet:                                     # doctest: +SKIP
    ...     outcome = await fleet.query("memory.utilization > 0.8", select=["memory.utilization"])
    ...     for row in outcome.answered:
    ...         print(row.id, row.facts)

    context: name of an operator's context; None: the current one.
    url, credentials: instead of a context; both or neither. authorities: with them, the PEM file of the hub's certificate authorities;
    None: the system's. role_keys: with them, the file in which the hub's role keys are kept, as devices have them in trust.json; None:
    who signed what the hub shows is not checked.
    Every method raises :class:`~edgeagent.errors.EdgeError`: UsageProblem for what cannot be meant, Refused for missing rights,
    Unreachable when the hub does not answer.
    """

    def __init__(
        self,
        context: str | None = None,
        *,
        url: str | None = None,
        credentials: Path | None = None,
        authorities: Path | None = None,
        role_keys: Path | None = None,
    ) -> None:
        if (url is None) != (credentials is None) or (url is None and (authorities or role_keys)):
            why = "url and credentials go together, and authorities and role keys only with them"
            raise UsageProblem("reach the hub", why)
        self._named, self._url, self._credentials = context, url, credentials
        self._authorities, self._role_keys = authorities, RoleKeys(role_keys)
        self._client: Client | None = None

    @classmethod
    def sync(
        cls,
        context: str | None = None,
        *,
        url: str | None = None,
        credentials: Path | None = None,
        authorities: Path | None = None,
        role_keys: Path | None = None,
    ) -> SyncFleet:
        """The same for code without ``await``: ``with Fleet.sync() as fleet: fleet.query(...)``."""
        from edgeagent.fleet.sync import SyncFleet

        return SyncFleet(cls(context, url=url, credentials=credentials, authorities=authorities, role_keys=role_keys))

    async def __aenter__(self) -> Fleet:
        name, url, file, authorities = self._where()
        login = self.login = creds.load(file)
        self.user = login.name
        self._client = await connect(
            url,
            what="reach the hub",
            name=f"edgeagent {login.name}",
            inbox_prefix=subjects.operator_inbox(login.name),
            jwt=creds.callbacks(login),
            authorities=authorities,
        )
        await self._refuse_a_leaf(url)
        await asyncio.gather(self._renew_authorities(authorities), self._renew_role_keys())
        self._evaluator = Evaluator()
        self._suspects = Suspects(places.operator_cache_folder() / f"suspects-{name}.json" if name else None)
        self._asker = Asker(self._client, login.name, judge=self._evaluator, suspects=self._suspects)
        return self

    async def __aexit__(self, *_: object) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        await self._evaluator.close()
        with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
            await asyncio.wait_for(client.close(), CLOSE_SECONDS)

    async def _renew_authorities(self, file: Path | None) -> None:
        """Keep the hub's certificate authorities as the hub hands them out: the next one must be known before it counts.

        Whoever answers here has just proved with one of those in ``file`` that it is the hub.
        """
        if file is None:
            return
        with contextlib.suppress(EdgeError):  # an older hub, or no room on the disk: the ones that there are go on
            found = await get_last(self.client, f"KV_{subjects.TRUST_BUCKET}", subjects.document(subjects.AUTHORITIES))
            text = "".join(wire.decode(found.data, Authorities).authorities).encode() if found else b""
            if text and files.read_if_there(file) not in (text, None):
                files.write_atomic(file, text, 0o600)

    async def _renew_role_keys(self) -> None:
        with contextlib.suppress(EdgeError):  # whatever needs them says so
            await self._role_keys.refresh(self.client)

    async def pins(self) -> Pins | None:
        """Whom devices follow, by the role keys that came with the login and what administrators signed since; None: no keys came."""
        return await self._role_keys.current(self.client)

    async def _refuse_a_leaf(self, url: str) -> None:
        """A leaf takes anybody in and answers nothing of ours; it is easily met, for its default port is the hub's."""
        domain = self.client._server_info.get("domain")  # nats-py shows INFO nowhere else
        if domain != HUB_DOMAIN:
            client, self._client = self.client, None
            await client.close()
            raise Refused(
                "reach the hub",
                f"{url} is no hub but {'the leaf of ' + domain if domain else 'another nats-server'}",
                "check the context's url: `edgeagent context ls`",
            )

    def _where(self) -> tuple[str, str, Path, Path | None]:
        if self._url is not None and self._credentials is not None:
            return "", self._url, self._credentials, self._authorities
        chosen = contexts.load(self._named)
        authorities = Path(chosen.authorities) if chosen.authorities else None
        self._role_keys = RoleKeys(Path(chosen.role_keys) if chosen.role_keys else None)
        return chosen.name, chosen.url, Path(chosen.credentials), authorities

    @property
    def client(self) -> Client:
        """nats-py's connection, for what this class does not offer."""
        if self._client is None:
            raise UsageProblem("ask the fleet", "this Fleet is not open", "use it as `async with Fleet() as fleet:`")
        return self._client

    @property
    def config(self) -> Configuration:
        """What the devices shall be configured like."""
        return Configuration(self)

    @property
    def commands(self) -> Commands:
        """What the devices shall do."""
        return Commands(self, self._evaluator)

    @property
    def files(self) -> Files:
        """Files that devices are given, or hand over."""
        return Files(self)

    @property
    def upgrades(self) -> Upgrades:
        """Other versions of edgeagent for the devices."""
        return Upgrades(self)

    @property
    def metrics(self) -> Metrics:
        """What the devices measured."""
        return Metrics(self, self._evaluator)

    @property
    def data(self) -> Data:
        """What the devices' own programs sent."""
        return Data(self, self._evaluator)

    @property
    def events(self) -> EventLog:
        """What a person should see."""
        return EventLog(self, self._evaluator)

    async def roster(self) -> Roster:
        """What the hub keeps about every device."""
        return await read_roster(self.client)

    async def query(
        self,
        where: str = "",
        *,
        select: Iterable[str] = (),
        labels: Iterable[str] = (),
        groups: Iterable[str] = (),
        devices: Iterable[str] = (),
        timeout: float = 3.0,
        first: bool = False,
        matches_only: bool = False,
        cached: bool = False,
        on_answer: Callable[[Row], None] | None = None,
    ) -> Outcome:
        """Ask every device of the selection, and wait until all that are online have answered, ``timeout`` seconds at most.

        where: CEL over the facts; a device that lacks a field does not match (and is counted in ``missing``).
        select: dotted names of the facts wanted. labels: ``key=value``, all must hold. groups, devices: whom to ask (their union).
        first: end at the first match. matches_only: the others stay silent; ends at the deadline.
        cached: from the hub's reports only. on_answer: called with each match as it comes.
        """
        devices, groups = self._allowed(tuple(devices), tuple(groups))
        selector = Selector.of(devices=devices, groups=groups, labels=tuple(labels), where=where)
        question = Question(
            selector=selector, select=tuple(select), timeout_seconds=timeout, first=first, matches_only=matches_only
        )
        reading = asyncio.ensure_future(self._checked_roster(selector, question.select))
        try:
            if cached:
                return await self._asker.cached(question, await reading)
            if where or select:
                await reading  # a mistyped field or id is said before any device is woken
            return await self._asker.ask(question, reading, on_answer=on_answer)
        finally:
            reading.cancel()

    def _allowed(self, devices: tuple[str, ...], groups: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Whom a login that is limited to groups may ask: those when it says nothing. Raises UsageProblem for anybody else.

        The server would drop such a question, and every device seem silent.
        """
        own = self.login.groups
        if not own or (not devices and set(groups) <= set(own) and groups):
            return devices, groups
        if not devices and not groups:
            return (), own
        asked = devices[0] if devices else next(group for group in groups if group not in own)
        remedy = "name a group with -g, and devices with --where 'id == ...'" if devices else "leave it out"
        raise UsageProblem(f"ask {asked!r}", f"this login is limited to the groups {', '.join(own)}", remedy)

    async def _checked_roster(self, selector: Selector, select: Sequence[str]) -> Roster:
        named = () if selector.groups else selector.devices
        roster = await read_roster(self.client, named)
        _check_devices(selector, roster if set(named) <= roster.devices.keys() else await self.roster(), self.login.groups)
        if selector.where or select:
            await field_names.check(self._evaluator, selector.where, select, _reported(roster))
        return roster

    async def fields(self) -> list[Field]:
        """Every fact that can be asked for: the built-in ones and whatever the devices report besides."""
        return field_names.catalogue(_reported(await self.roster()))

    async def ping(self, **selection: Any) -> Outcome:
        """Ask for nothing but an answer; ``round_trip_ms`` of each row tells how long it took. Arguments as :meth:`query`."""
        return await self.query("", **selection)

    def watch(self, *, ready: Callable[[], None] = lambda: None) -> AsyncGenerator[Change, None]:
        """Every change of presence and every report from now on, as the hub stores them.

        ready: called when it listens; what happens after that is not missed.
        """
        return watch(self.client, ready)


def _reported(roster: Roster) -> list[wire.Facts]:
    return [known.facts for known in roster.devices.values() if known.facts]


def _check_devices(selector: Selector, roster: Roster, own: Sequence[str]) -> None:
    """own: the groups that the login is limited to; they need have no device yet."""
    for device in selector.devices:
        if device not in roster.devices:
            near = field_names.nearest(device, roster.devices)
            raise UsageProblem(f"ask {device!r}", "the hub knows no such device", near or "`edgeagent fleet ls` shows all")
    known_groups = {*own, *(group for known in roster.devices.values() for group in known.groups)}
    for group in selector.groups:
        if group not in known_groups:
            near = field_names.nearest(group, known_groups)
            raise UsageProblem(
                f"ask the group {group!r}", "no device is in such a group", near or "`edgeagent fleet ls -o wide` shows groups"
            )
