"""What runs beside the hub's nats-server: streams, presence, the guard; and how a program on the hub's machine signs in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from edgeagent.backoff import delays
from edgeagent.errors import Closed, EdgeError
from edgeagent.hub import streams
from edgeagent.hub.address import local_url
from edgeagent.hub.folder import HubOptions
from edgeagent.hub.keyring import Keyring, Service
from edgeagent.hub.presence_keeper import PresenceKeeper
from edgeagent.link import Callback, Client, connect
from edgeagent.runtime import Tasks
from edgeagent.trust import creds

__all__ = ["HubServices", "sign_in"]

log = logging.getLogger("edgeagent.hub")

#: Bounds of the pause after the streams could not be looked at, in seconds.
RETRY_SECONDS = (0.5, 15.0)


async def sign_in(
    options: HubOptions,
    keyring: Keyring,
    service: Service,
    *,
    on_reconnected: Callback | None = None,
    on_closed: Callback | None = None,
) -> Client:
    """A connection to the hub of this machine."""
    login = keyring.service_credentials(service)
    return await connect(
        local_url(options),
        what="reach the hub",
        name=f"edgeagent hub ({service})",
        inbox_prefix=f"_INBOX.{service}",
        jwt=creds.callbacks(login),
        on_reconnected=on_reconnected,
        on_closed=on_closed,
    )


class HubServices:
    """Runs within ``async with``, in ``tasks``; stateless, so it may run several times.

    Whatever was lost while nats-server was away is put right when it is back, the streams first.
    """

    def __init__(self, options: HubOptions, keyring: Keyring) -> None:
        self._options, self._keyring = options, keyring
        self._stack = contextlib.AsyncExitStack()
        self._hub_is_back, self._closed = asyncio.Event(), asyncio.Event()
        self._keeper: PresenceKeeper | None = None
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
        self._stack.push_async_callback(self.tasks.close)  # before the connections: that we close them is no failure
        self.tasks.start("connections", self._until_closed())
        await self._ensure_streams()
        self._keeper = PresenceKeeper(self._system, self._hub, self._keyring.account_public("FLEET"))
        await self._keeper.start()
        self.tasks.start("presence", self._keeper.write_events())
        self.tasks.start("reconcile presence", self._keeper.reconciliations())
        self.tasks.start("guard", self._keeper.guard())
        self.tasks.start("streams", self._keep_streams())

    async def _connection(self, service: Service, came_back: Callback) -> Client:
        client = await sign_in(self._options, self._keyring, service, on_reconnected=came_back, on_closed=self._was_closed)
        self._stack.push_async_callback(_close, client)
        return client

    async def _was_closed(self) -> None:
        self._closed.set()

    async def _hub_came_back(self) -> None:
        self._hub_is_back.set()

    async def _system_came_back(self) -> None:
        if self._keeper:
            self._keeper.look_again()

    async def _until_closed(self) -> None:
        """Raise Closed once a connection of ours has ended for good: nats-py does that at most errors that the server reports."""
        await self._closed.wait()
        why = next((str(client.last_error) for client in (self._hub, self._system) if client.is_closed and client.last_error), "")
        raise Closed(
            "stay connected to nats-server", why.removeprefix("nats: ") or "the connection is closed", "start the hub again"
        )

    async def _keep_streams(self) -> None:
        """Make the streams again after nats-server came back without them: its store may have been lost with it. For ever."""
        while True:
            await self._hub_is_back.wait()
            self._hub_is_back.clear()
            await self._ensure_streams_patiently()
            await self._system_came_back()

    async def _ensure_streams_patiently(self) -> None:
        for pause in delays(*RETRY_SECONDS):
            try:
                await self._ensure_streams()
                break
            except EdgeError as error:
                log.warning("%s", error)
                await asyncio.sleep(pause)

    async def _ensure_streams(self) -> None:
        for name in await streams.ensure(self._hub.jetstream(), self._options.store_max_bytes):
            log.info("made or changed the stream %s", name)


async def _close(client: Any) -> None:
    with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
        await client.close()
