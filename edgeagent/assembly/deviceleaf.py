"""The agent's leaf: its options out of the settings, and the agent's two connections to it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

from edgeagent.errors import EdgeError
from edgeagent.identity import Identity
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.link import Client, connect
from edgeagent.natsserver.supervisor import State, Timing
from edgeagent.settings import Settings
from edgeagent.status import LeafStatus, Problem
from edgeagent.subjects import agent_inbox

__all__ = ["LeafConnections", "leaf_options", "leaf_problem", "leaf_status"]

log = logging.getLogger(__name__)


def leaf_options(settings: Settings, identity: Identity) -> LeafOptions:
    """What the settings say about the leaf. Raises UsageProblem when they can't be meant."""
    leaf = settings.leaf
    return LeafOptions(
        device_id=identity.id,
        server_name=identity.server_name,
        folder=settings.state_folder,
        runtime=settings.runtime_folder,
        hub_urls=tuple(settings.hub.urls),
        credentials=settings.credentials_file,
        port=leaf.port,
        mode=leaf.mode,
        server=leaf.server,
        store_max_bytes=leaf.store_max_bytes,
        memory_store_max_bytes=leaf.memory_store_max_bytes,
        go_memory_limit_bytes=leaf.go_memory_limit_bytes,
        sync_seconds=leaf.sync_seconds,
        reconnect_seconds=leaf.reconnect_seconds,
        ping_seconds=leaf.ping_seconds,
        timing=Timing(first_seconds=min(0.5, leaf.restart_cap_seconds), cap_seconds=leaf.restart_cap_seconds),
    )


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
    )


def leaf_problem(leaf: Leaf) -> Problem | None:
    """What is wrong with the leaf now, None while it runs."""
    if leaf.state in (State.RUNNING, State.STOPPING, State.STOPPED):
        return None
    problem = leaf.last_problem
    return Problem(f"the leaf is {leaf.state.value.replace('_', ' ')}: {problem.why}", problem.remedy) if problem else None


class LeafConnections:
    """The agent's connection to its leaf, and one to the leaf's system account. Both come back by themselves.

    on_back: called when they were away.
    """

    def __init__(self, leaf: Leaf, device_id: str, *, on_back: Callable[[], None]) -> None:
        self._leaf, self._id, self._on_back = leaf, device_id, on_back
        self.agent: Client
        self.system: Client

    async def open(self) -> None:
        async def back() -> None:
            self._on_back()

        async def closed() -> None:
            log.debug("a connection to the leaf is closed")

        prefix = agent_inbox(self._id)
        self.agent = await connect(
            self._leaf.url,
            what="reach the leaf",
            name="edgeagent",
            inbox_prefix=prefix,
            password=self._leaf.agent_login,
            on_closed=closed,
        )
        try:
            self.system = await connect(
                self._leaf.url,
                what="reach the leaf",
                name="edgeagent (system)",
                inbox_prefix="_INBOX.sys",
                password=self._leaf.sys_login,
                on_reconnected=back,
            )
        except EdgeError:
            await self.agent.close()
            raise

    async def close(self) -> None:
        for client in (self.system, self.agent):
            with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
                await client.close()
