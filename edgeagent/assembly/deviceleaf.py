"""The agent's leaf: its options out of the settings, and the agent's connections to it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from edgeagent import servers
from edgeagent.errors import Closed, EdgeError, Failed, UsageProblem
from edgeagent.hubentries import mixes
from edgeagent.identity import Identity
from edgeagent.leaf.apps import AGENT_INBOX
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.link import Client, connect, server_version, why_closed
from edgeagent.machine import Machine
from edgeagent.natsserver.supervisor import State, Timing
from edgeagent.patterns.programcollectors import load_folder
from edgeagent.settings import Settings
from edgeagent.status import LeafStatus, Problem
from edgeagent.subjects import agent_inbox

__all__ = ["ANEW", "ConnectionLost", "LeafConnections", "LeafMoved", "leaf_options", "leaf_problem", "leaf_status"]

_WHAT = "reach the leaf"


def leaf_options(
    settings: Settings,
    identity: Identity,
    *,
    credentials: Path | None = None,
    store_bytes: int | None = None,
    machine: Machine | None = None,
) -> LeafOptions:
    """What the settings say about the leaf. credentials: the file to begin with; None: that of the settings. store_bytes: what its streams
    may take; None: what the settings allow. machine: whose collecting programs count; None: nobody's.

    Raises UsageProblem when they can't be meant.
    """
    leaf = settings.leaf
    return LeafOptions(
        device_id=identity.id,
        server_name=identity.server_name,
        folder=settings.state_folder,
        hub_urls=_servers(settings.hub.urls),
        credentials=credentials or settings.credentials_file,
        tls_ca_file=settings.authorities_file,
        proxy=settings.hub.proxy,
        port=leaf.port,
        mode=leaf.mode,
        server=leaf.server,
        mqtt=settings.mqtt,
        collectors=tuple(each.name for each in load_folder(machine, settings.collectors_folder)[0]) if machine else (),
        store_max_bytes=leaf.store_max_bytes if store_bytes is None else store_bytes,
        memory_store_max_bytes=leaf.memory_store_max_bytes,
        go_memory_limit_bytes=leaf.go_memory_limit_bytes,
        sync_seconds=leaf.sync_seconds,
        reconnect_seconds=leaf.reconnect_seconds,
        ping_seconds=leaf.ping_seconds,
        timing=Timing(first_seconds=min(0.5, leaf.restart_cap_seconds), cap_seconds=leaf.restart_cap_seconds),
    )


def _servers(entries: list[str]) -> tuple[str, ...]:
    """Of the hub that is wanted most: the leaf is linked to one hub at a time."""
    if mixes(entries):
        raise UsageProblem("set up the leaf", "hub.urls mixes ws:// or wss:// with other addresses", "use one kind")
    return tuple(servers.split(entries[0])) if entries else ()


def leaf_status(leaf: Leaf) -> LeafStatus:
    """For the status file."""
    return LeafStatus(
        mode=leaf.options.mode,
        state=leaf.state.value,
        port=leaf.port,
        wished_port=leaf.wished_port,
        pid=leaf.pid or 0,
        version=leaf.version,
        restarts=leaf.restarts,
        mqtt=leaf.mqtt.status(),
    )


def leaf_problem(leaf: Leaf) -> Problem | None:
    """What is wrong with the leaf now, or with its MQTT while it runs; None: nothing."""
    if leaf.state in (State.RUNNING, State.STOPPING, State.STOPPED):
        return leaf.mqtt.problem
    problem = leaf.last_problem
    what = f"the leaf is {leaf.state.value.replace('_', ' ')}"
    return Problem(f"{what}: {problem.why}", problem.remedy, "leaf") if problem else None


class ConnectionLost(Closed):
    """The leaf ended a connection of the agent's in a way from which nats-py does not come back."""


class LeafMoved(Failed):
    """The leaf was restarted and another program had taken its port meanwhile."""


#: After these the agent begins anew in the same process, and its leaf goes on.
ANEW = (LeafMoved, ConnectionLost)


class LeafConnections:
    """The agent's connections to its leaf, one to each of its accounts. They come back by themselves.

    on_back: called when they were away. on_lost: called with the reason when one was closed for good, though not by :meth:`close`.
    """

    def __init__(self, leaf: Leaf, device_id: str, *, on_back: Callable[[], None], on_lost: Callable[[EdgeError], None]) -> None:
        self._leaf, self._id, self._on_back, self._on_lost = leaf, device_id, on_back, on_lost
        self._open: list[Client] = []
        self._closing = False

    @property
    def agent(self) -> Client:
        """All rights in the account of the link and of the streams. Raises Closed before :meth:`open`."""
        return self._opened(0)

    @property
    def local(self) -> Client:
        """The account of the local programs: their configuration and actions. Raises Closed before :meth:`open`."""
        return self._opened(1)

    @property
    def system(self) -> Client:
        """The leaf's system account. Raises Closed before :meth:`open`."""
        return self._opened(2)

    def _opened(self, number: int) -> Client:
        if len(self._open) <= number:
            raise Closed(_WHAT, "it was not connected yet")
        return self._open[number]

    async def open(self) -> None:
        """Connect all. Raises EdgeError."""
        await self._connect("edgeagent", agent_inbox(self._id), self._leaf.agent_login)
        await self._connect("edgeagent (local)", AGENT_INBOX, self._leaf.local_login)
        await self._connect("edgeagent (system)", "_INBOX.sys", self._leaf.sys_login, on_back=self._on_back)

    async def _connect(self, name: str, inbox: str, login: tuple[str, str], on_back: Callable[[], None] = lambda: None) -> None:
        client: Client | None = None  # until it was good for the first time

        async def gone() -> None:
            if client and not self._closing:
                self._leaf.connection_changed(up=False)

        async def back() -> None:
            if client and not self._closing:
                self._leaf.connection_changed(up=True, version=server_version(client))
                on_back()

        async def closed() -> None:
            if client and not self._closing:
                self._on_lost(ConnectionLost(_WHAT, why_closed(client, _WHAT).why))

        client = await connect(
            self._leaf.url,
            what=_WHAT,
            name=name,
            inbox_prefix=inbox,
            password=login,
            on_disconnected=gone,
            on_reconnected=back,
            on_closed=closed,
        )
        self._open.append(client)

    async def close(self) -> None:
        """Close what was opened; safe to call when nothing was."""
        self._closing = True
        for client in reversed(self._open):
            with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
                await client.close()
