"""What runs beside the hub's nats-server: streams, accounts, presence, the guard, and those who answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

from edgeagent import files, servers, wire
from edgeagent.administration import Person
from edgeagent.assembly.hubexports import HubExports
from edgeagent.assembly.hublogin import sign_in
from edgeagent.assembly.hubstreams import HubStreams
from edgeagent.assembly.hubwatch import HubWatch
from edgeagent.errors import Closed, EdgeError
from edgeagent.hub import authorities, interest
from edgeagent.hub.accounts_keeper import AccountsKeeper
from edgeagent.hub.address import known_host
from edgeagent.hub.administration import Administration, Handler
from edgeagent.hub.adoption import Adoption
from edgeagent.hub.audit import Audit
from edgeagent.hub.balancer import Balancer
from edgeagent.hub.chunkindex import ChunkIndex
from edgeagent.hub.cluster import server_name
from edgeagent.hub.device_orders import DeviceOrders
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.handout import keep_handing_out
from edgeagent.hub.keyring import Keyring, Service
from edgeagent.hub.ownevents import OwnEvents
from edgeagent.hub.people import People
from edgeagent.hub.presence_keeper import PresenceKeeper
from edgeagent.hub.provisioning import Provisioning
from edgeagent.hub.retention_keeper import RetentionKeeper
from edgeagent.hub.storekeeper import Beside
from edgeagent.hub.tokenoffice import TokenOffice
from edgeagent.link import Callback, Client
from edgeagent.runtime import Tasks

__all__ = ["HubServices"]

log = logging.getLogger("edgeagent.hub")

#: How often to look whether the hub's owner changed its keys, in seconds. The look is a few small files.
KEYS_SECONDS = 2.0


class HubServices:
    """Runs within ``async with``, in ``tasks``; stateless, so it may run several times.

    restart: for the instance beside nats-server, of which each server has one: ends that and starts it again. None where it is
    somebody else's.

    Whatever was lost while nats-server was away is put right when it is back, the streams first.
    events: what else on this hub has something to say tells it there, within the block.
    """

    events: OwnEvents

    def __init__(
        self, place: HubFolder, options: HubOptions, keyring: Keyring, *, restart: Callable[[], None] | None = None
    ) -> None:
        self._place, self._options, self._keyring = place, options, keyring
        self._cluster = place.cluster()
        self._templates = restart is not None and self._cluster.leads_accounts
        name = server_name(options.name, self._cluster)
        self._beside = Beside(name, place.path / "store", restart) if restart else None
        self._stack = contextlib.AsyncExitStack()
        self._hub_is_back, self._closed = asyncio.Event(), asyncio.Event()
        self._presence: PresenceKeeper | None = None
        self._accounts: AccountsKeeper | None = None
        self.tasks = Tasks()

    async def __aenter__(self) -> HubServices:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        self._hub = await self._connection("hub", self._hub_came_back)
        self._system = await self._connection("sys", self._system_came_back)
        self._provision = await self._connection("provision", None)
        # Its own: devices can fill it, and orders, the store and revocations must go on then.
        self._requests = await self._connection("hub", None)
        self._fleet = await self._connection("fleet", None)
        self._exports = await self._connection("hub", None)  # its own, for what devices store live comes here
        self._trouble = await self._connection("sys", None)  # its own, for whoever tries logins fills it
        self._stack.push_async_callback(self.tasks.close)  # before the connections: that we close them is no failure
        self.tasks.start("connections", self._until_closed())
        watch = HubWatch(
            self._system,
            self._hub,
            trouble=self._trouble,
            requests=self._requests,
            cluster=self._cluster,
            beside=self._beside,
        )
        self.events = watch.events
        await watch.start(self.tasks)
        exports = HubExports(self._place, self._options, self._place.exports(), self._exports, watch.health)
        exports.listen(self.tasks)
        await interest.hold(self._fleet)
        self._streams = HubStreams(self._hub, self._system, self._options.store_max_bytes, self._cluster)
        await self._streams.start()
        accounts = self._accounts = await self._keep_accounts()
        orders = DeviceOrders(self._hub, accounts)
        self._presence = await self._keep_presence(orders)
        await self._adopt_devices(orders)
        self.tasks.start("streams", self._keep_streams())
        if self._cluster.number and self._beside:
            own, fleet = server_name(self._options.name, self._cluster), self._keyring.account_public("FLEET")
            self.tasks.start("balance", Balancer(self._system, fleet, own, self._cluster.size).run())
        self.tasks.start("retention", RetentionKeeper(self._hub).run())
        self.tasks.start("authorities", keep_handing_out(self._hub, self._authorities, apart=self._keeps_own_authorities()))
        provisioning = await self._let_devices_in(orders, self._presence)
        office = self._token_office(accounts)
        self.tasks.start("tokens", office.run())
        await self._stack.enter_async_context(ChunkIndex(self._hub, self._requests, flooded=self._presence.flooded))
        await self._listen_to_administrators(orders, People(self._hub, accounts), office)
        self.tasks.start("keys", self._follow_keys([accounts.use, provisioning.use, office.use]))
        exports.start(self.tasks, self.events)

    async def _keep_accounts(self) -> AccountsKeeper:
        keeper = AccountsKeeper(self._system, self._hub, self._keyring, micro=self._options.micro, templates=self._templates)
        try:
            await keeper.apply()
        except EdgeError as error:  # it is tried again, and everything else can go on meanwhile
            log.warning("%s", error)
        keeper.wake()
        self.tasks.start("accounts", keeper.run())
        return keeper

    async def _follow_keys(self, users: Sequence[Callable[[Keyring], None]]) -> None:
        """Sign with the keys that are in the folder, whenever its owner changed them. For ever."""
        before, said = self._keyring.public, ""
        while True:
            await asyncio.sleep(KEYS_SECONDS)
            try:
                keyring = Keyring.load(self._place.path)
            except EdgeError as error:  # half way through, or damaged: what we have goes on
                if str(error) != said:
                    log.warning("%s", error)
                said = str(error)
                continue
            if keyring.public != before:
                before = keyring.public
                log.info("the hub's keys were changed by its owner")
                for use in users:
                    use(keyring)

    async def _keep_presence(self, orders: DeviceOrders) -> PresenceKeeper:
        fleet, provision = self._keyring.account_public("FLEET"), self._keyring.account_public("PROVISION")
        tampered = orders.revoke_tampered
        beside = server_name(self._options.name, self._cluster) if self._beside else ""
        keeper = PresenceKeeper(self._system, self._hub, fleet, provision=provision, beside=beside, on_tampered=tampered)
        await keeper.start()
        self.tasks.start("presence", keeper.write_events())
        self.tasks.start("reconcile presence", keeper.reconciliations())
        self.tasks.start("guard", keeper.guard())
        self.tasks.start("end links", keeper.end_links())
        return keeper

    async def _adopt_devices(self, orders: DeviceOrders) -> None:
        adoption = Adoption(
            self._system,
            self._hub,
            fleet=self._keyring.account_public("FLEET"),
            issuer=self._keyring.role_public("device"),
            revoke=orders.keep_key_out,
            refuse=orders.keep_out_too,
            everybody=self._templates and self._place.restored.exists(),
            looked=lambda: self._place.restored.unlink(missing_ok=True),
        )
        await adoption.start()
        self.tasks.start("adopt devices", adoption.run())
        self.tasks.start("look for strangers", adoption.looks())

    async def _let_devices_in(self, orders: DeviceOrders, presence: PresenceKeeper) -> Provisioning:
        provisioning = Provisioning(
            self._hub,
            self._provision,
            self._keyring,
            requests=self._requests,
            hub_name=self._options.name,
            authorities=self._authorities,
            cluster=self._cluster,
            revoke=orders.keep_key_out,
            flooded=presence.flooded,
        )
        self._stack.push_async_callback(provisioning.close)
        await provisioning.start()
        return provisioning

    def _token_office(self, accounts: AccountsKeeper) -> TokenOffice:
        return TokenOffice(
            self._hub,
            self._keyring,
            hub_name=self._options.name,
            tls=bool(self._options.tls),
            authorities=self._authorities,
            leaf_port=self._options.leaf_port,
            host=known_host(self._options),
            servers=servers.joined(self._cluster.devices),
            push=accounts.apply,
        )

    async def _listen_to_administrators(self, orders: DeviceOrders, people: People, office: TokenOffice) -> None:
        await self._take_the_founder_in(people)
        handlers: dict[str, Handler] = {
            **orders.handlers(),
            **people.handlers(),
            **office.handlers(),
            **Audit(self._hub).handlers(),
        }
        await self._stack.enter_async_context(Administration(self._hub, handlers))

    async def _take_the_founder_in(self, people: People) -> None:
        """Register the first administrator, whose login is older than the hub's store."""
        data = files.read_if_there(self._place.founder)
        if data is None:
            return
        try:
            await people.register("hub init", wire.decode(data, Person))
            self._place.founder.unlink()
        except (EdgeError, OSError) as error:
            log.warning("cannot register the first administrator: %s", error)

    def _keeps_own_authorities(self) -> bool:
        return bool(self._cluster.number) and self._options.tls == "self"

    def _authorities(self) -> str:
        return authorities.current(self._place)

    async def _connection(self, service: Service, came_back: Callback | None) -> Client:
        client = await sign_in(self._place, self._keyring, service, on_reconnected=came_back, on_closed=self._was_closed)
        self._stack.push_async_callback(_close, client)
        return client

    async def _was_closed(self) -> None:
        self._closed.set()

    async def _hub_came_back(self) -> None:
        self._hub_is_back.set()

    async def _system_came_back(self) -> None:
        if self._presence:
            self._presence.look_again()
        if self._accounts:
            self._accounts.wake()

    async def _until_closed(self) -> None:
        """Raise Closed once a connection of ours has ended for good: nats-py does that at most errors that the server reports."""
        await self._closed.wait()
        why = next(
            (
                str(client.last_error)
                for client in (
                    self._hub,
                    self._system,
                    self._provision,
                    self._fleet,
                    self._requests,
                    self._exports,
                    self._trouble,
                )
                if client.is_closed and client.last_error
            ),
            "",
        )
        raise Closed(
            "stay connected to nats-server", why.removeprefix("nats: ") or "the connection is closed", "start the hub again"
        )

    async def _keep_streams(self) -> None:
        """Make the streams again after nats-server came back without them: its store may have been lost with it. For ever."""
        while True:
            await self._hub_is_back.wait()
            self._hub_is_back.clear()
            await self._streams.ensure()
            await self._system_came_back()


async def _close(client: Any) -> None:
    with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
        await client.close()
