"""A device that was enrolled with a fleet's hub, behind a cable, to be configured, attacked, stopped and started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from edgeagent import localsubjects, subjects, wire
from edgeagent.config import nested
from edgeagent.demo.cable import Cable
from edgeagent.direct import get_last, read_all
from edgeagent.errors import EdgeError, Unreachable
from edgeagent.fleet import Fleet
from edgeagent.lastgood import FILE
from edgeagent.link import Client, connect, request
from edgeagent.subjects import Scope
from tests.support.configuring import Writer, state_of
from tests.support.enrolling import NewDevice
from tests.support.fleet import LiveFleet, cli
from tests.support.servers import is_alive, until

__all__ = ["DEVICE", "ID", "Configured", "Rig", "configured", "configured_in", "rigged"]

ID = "pi-1"
DEVICE = Scope.device(ID)


class Configured:
    """The device :data:`ID` of ``fleet``'s hub, in ``groups``; its agent runs between :meth:`start` and :meth:`stop`."""

    def __init__(self, fleet: LiveFleet, folder: Path, groups: tuple[str, ...]) -> None:
        self.fleet, self.groups = fleet, groups
        self.cable = Cable(("127.0.0.1", fleet.hub.options().leaf_port))
        fleet.do(self.cable.start())
        self.device = NewDevice(folder, reconnect_seconds=0.2)
        made = cli("token", "create", "--groups", ",".join(groups), "--device", ID)
        assert made.code == 0, made
        said = fleet.do(self.device.enrol(f"127.0.0.1:{self.cable.port}", token=made.out.strip()))
        assert said.code == 0, said
        self._slow_but_for_heartbeats()
        self._running = contextlib.ExitStack()
        self.agent: subprocess.Popen[bytes] | None = None

    def _slow_but_for_heartbeats(self) -> None:
        """What the configuration makes quick is not quick by itself."""
        text = self.device.settings.read_text()
        text = text.replace("renew_retry_seconds = 0.3", "renew_retry_seconds = 3600")
        self.device.settings.write_text(text.replace("heartbeat_seconds = 1", "heartbeat_seconds = 1\nfacts_seconds = 3600"))

    # ---- its life ----

    def start(self) -> None:
        self.agent = self._running.enter_context(self.device.running())

    def stop(self) -> None:
        """As systemd does it: with its leaf."""
        self._running.close()
        self.agent = None

    def kill(self) -> None:
        """As a crash does it: the leaf goes on."""
        assert self.agent
        self.agent.send_signal(signal.SIGKILL)
        self.agent.wait()
        self.stop()

    def close(self) -> None:
        self.stop()
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.device.state / "leaf.pid").read_text()), signal.SIGTERM)  # of one that was killed
        self.fleet.do(self.cable.close())

    def cut(self) -> None:
        self.fleet.do(self.cable.cut())

    def restore(self) -> None:
        self.fleet.do(self.cable.restore())

    @property
    def is_alive(self) -> bool:
        """Whether it is the same process that was started."""
        return self.agent is not None and self.agent.poll() is None and is_alive(self.agent.pid)

    async def linked(self) -> None:
        await until(lambda: self.device.is_linked, "it is linked")

    async def ready(self) -> None:
        """Wait until the agent that was started last serves the programs of its device, link or none."""

        async def serves() -> bool:
            with contextlib.suppress(EdgeError):
                return await self.table("nobody") == {}
            return False

        await until(serves, "it serves its programs")

    # ---- what it keeps, says and does ----

    @property
    def kept(self) -> bytes:
        return (self.device.state / FILE).read_bytes()

    async def scope(self, client: Client, scope: Scope) -> wire.ScopeState:
        """What its newest report says. client: a person's."""
        return (await state_of(client, ID)).scopes.get(str(scope), wire.ScopeState())

    async def follows(self, client: Client, scope: Scope, generation: int) -> None:
        """Wait until it reports just this document of the scope, and nothing against it."""

        async def done() -> bool:
            found = await self.scope(client, scope)
            return (found.desired, found.applied, found.error) == (generation, generation, "")

        await until(done, f"{scope} is followed")

    async def reports(self, client: Client, true: Callable[[wire.ConfigState], bool], what: str) -> wire.ConfigState:
        """Wait for a report of its configuration of which this is true."""
        found = wire.ConfigState()

        async def done() -> bool:
            nonlocal found
            found = await state_of(client, ID)
            return true(found)

        await until(done, what)
        return found

    async def heartbeat_seconds(self, client: Client) -> float:
        """Of the newest heartbeat that the hub has."""
        stored = await get_last(client, "EDGE_REPORTS", subjects.heartbeat(ID))
        assert stored
        return wire.decode(stored.data, wire.Heartbeat).heartbeat_seconds

    async def table(self, name: str) -> Any:
        """What a program on the device is told of its configuration."""
        async with self.leaf() as program:
            return json.loads((await request(program, localsubjects.local_config(name), what="ask for my configuration")).data)

    @contextlib.asynccontextmanager
    async def leaf(self, *, as_agent: bool = False) -> AsyncIterator[Client]:
        """A connection of a program without a login, or with the rights of the agent. Raises EdgeError while there is no leaf."""
        status = self.device.status()
        if status is None:
            raise Unreachable("reach the leaf", "the agent has not begun")
        login = ("agent", json.loads((self.device.state / "secrets.json").read_text())["agent"]) if as_agent else None
        url = f"nats://127.0.0.1:{status.leaf.port}"
        client = await connect(url, what="reach the leaf", name="a", inbox_prefix="_INBOX.a", password=login, reconnect=False)
        try:
            yield client
        finally:
            await client.close()

    async def events(self, client: Client, kind: str) -> list[wire.Event]:
        found = [item async for item in read_all(client, "EDGE_EVENTS", f"edge.from.{ID}.event.*")]
        return [event for event in (wire.decode(item.data, wire.Event) for item in found) if event.kind == kind]

    async def told(self, client: Client, kind: str, text: str) -> wire.Event:
        """Wait for its event of this kind with just this text."""
        found: list[wire.Event] = []

        async def done() -> bool:
            found[:] = [event for event in await self.events(client, kind) if event.text == text]
            return bool(found)

        await until(done, f"{kind}: {text}")
        return found[-1]


@contextlib.contextmanager
def configured(folder: Path, *groups: str) -> Iterator[Configured]:
    """A hub with one such device, which runs; within the block the home is that of the hub's administrator."""
    with LiveFleet(folder / "fleet", 0) as fleet, fleet.borrowed(), configured_in(fleet, folder, *groups) as made:
        yield made


@contextlib.contextmanager
def configured_in(fleet: LiveFleet, folder: Path, *groups: str) -> Iterator[Configured]:
    """The same with a hub that is there. The home must be that of its administrator."""
    made = Configured(fleet, folder / ID, groups)
    try:
        made.start()
        fleet.do(made.linked())
        yield made
    finally:
        made.close()


class Rig(NamedTuple):
    """The device, and the administrator who configures it."""

    pi: Configured
    fleet: Fleet

    @property
    def client(self) -> Client:
        return self.fleet.client

    async def put(self, values: dict[str, Any], scope: Scope = DEVICE) -> int:
        """Set the whole of a scope, by dotted names; its generation."""
        return await Writer.of(self.fleet).put(scope, nested(values))

    async def set(self, values: dict[str, Any], scope: Scope = DEVICE) -> None:
        """The same, until the device follows it."""
        await self.pi.follows(self.client, scope, await self.put(values, scope))

    async def restarted(self) -> None:
        self.pi.stop()
        self.pi.start()
        await self.pi.linked()


@contextlib.asynccontextmanager
async def rigged(pi: Configured) -> AsyncIterator[Rig]:
    """The device, linked and with nothing configured any more."""
    pi.restore()
    await pi.linked()
    async with Fleet() as fleet:
        made = Rig(pi, fleet)
        for scope, state in (await state_of(fleet.client, ID)).scopes.items():
            if state.applied or state.error:
                await made.put({}, Scope(*scope.split(".")))
        await pi.reports(fleet.client, lambda state: not state.values and not any_error(state), "all is forgotten")
        yield made


def any_error(state: wire.ConfigState) -> bool:
    return any(scope.error for scope in state.scopes.values())
