"""Links that look up and carry nothing, and leafs that hang: a real hub, a real leaf, and ways to swallow what is sent."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edgeagent import wire
from edgeagent.assembly.linkrepair import LinkRepair
from edgeagent.errors import EdgeError
from edgeagent.leaf import linkdoubt, uplink
from edgeagent.leaf.linkdoubt import LinkDoubt, Step
from edgeagent.leaf.uplink import Uplink
from edgeagent.link import connect, request
from edgeagent.patterns import report
from edgeagent.patterns.report import Reporter
from edgeagent.publish import published
from edgeagent.runtime import Tasks
from tests.support.deaf import Deaf
from tests.support.forwarding import ForwardingDevice
from tests.support.servers import is_alive, until
from tests.support.trusthub import TrustHub


class Facts:
    def stable(self) -> wire.Facts:
        return {}


class Device:
    """A leaf with its heartbeats and their repair, as the agent has them."""

    def __init__(self, device: ForwardingDevice, doubt: LinkDoubt | None) -> None:
        self.leaf, self.tasks = device.leaf, Tasks()
        self._device, self._doubt = device, doubt
        self.tried: list[EdgeError | None] = []
        self.told: list[tuple[str, str, dict[str, Any]]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Device]:
        login = {"what": "x", "name": "test", "inbox_prefix": "_INBOX.sys", "password": self.leaf.sys_login}
        system = await connect(self.leaf.url, **login)  # type: ignore[arg-type]  # words by name
        self.uplink = Uplink(system, self._changed)
        self.repair = LinkRepair(
            self.leaf,
            system,
            self.uplink,
            is_visiting=lambda: False,
            tell=lambda severity, kind, text, **data: self.told.append((severity, kind, data)),
            on_change=lambda: None,
            doubt=self._doubt,
        )
        self.reporter = Reporter(
            self._device.client, "pi-1", Facts(), heartbeat_seconds=0.2, facts_seconds=3600, boot="b", on_link=self._tried
        )
        try:
            await self.uplink.start()
            self.tasks.start("repair", self.repair.keep())
            self.tasks.start("heartbeats", self.reporter.heartbeats())
            await self.until_good()
            yield self
        finally:
            await self.tasks.close()
            with contextlib.suppress(OSError):  # its leaf may have been killed
                await system.close()

    def _changed(self, connected: bool) -> None:
        if connected:
            self.repair.came()
            self.reporter.link_changed()
            self.reporter.link_came()

    def _tried(self, error: EdgeError | None) -> None:
        self.tried.append(error)
        self.repair.tried(error)

    async def until_good(self) -> None:
        count = len(self.tried)
        await until(lambda: None in self.tried[count:], "a heartbeat is acknowledged")

    def count(self, step: Step) -> int:
        return getattr(self.repair.repairs or wire.LinkRepairs(), step.value)  # type: ignore[no-any-return]  # its words


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat is given up soon and tried again soon, and nothing is put off for the sake of a fleet."""
    monkeypatch.setattr(report, "published", partial(published, timeout=0.5))
    monkeypatch.setattr(report, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(uplink, "request", partial(request, timeout=0.5))
    monkeypatch.setattr(linkdoubt, "SPREAD_SECONDS", 0.0)


@contextlib.asynccontextmanager
async def device(hub: TrustHub, folder: Path, way: Deaf, doubt: LinkDoubt | None = None) -> AsyncIterator[Device]:
    async with ForwardingDevice(hub, folder, hub_port=way.port).leaf_running() as leaf, Device(leaf, doubt).running() as found:
        yield found


async def test_what_a_link_swallows_or_a_server_forgets_is_noticed_and_mended(hub: TrustHub, tmp_path: Path) -> None:
    """One after the other; each time local programs keep their leaf."""
    async with Deaf(hub.leaf_port) as way, device(hub, tmp_path / "pi-1", way) as pi:
        leaf = pi.leaf.pid
        for direction in ("deaf", "mute"):
            before = way.connections
            setattr(way, direction, True)

            def is_dialled(before: int = before) -> bool:
                return way.connections > before

            await until(is_dialled, "the leaf dials anew, by itself")
            await way.cut()  # what was dialled while the way swallowed has a hole
            await pi.until_good()
        before, done = way.connections, pi.count(Step.DIAL)
        assert done >= 2
        await hub.deafen()
        await until(lambda: pi.count(Step.DIAL) > done, "the leaf dials anew")
        await pi.until_good()
        assert way.connections > before
        assert pi.leaf.pid == leaf and pi.leaf.restarts == 0
        assert [(severity, kind) for severity, kind, _ in pi.told] == [("info", "link.repaired")] * len(pi.told)
        assert len(pi.told) >= 3 and pi.told[0][2]["dialled"] >= 1


async def test_a_hub_that_is_away_is_no_reason_to_touch_the_leaf(hub: TrustHub, tmp_path: Path) -> None:
    async with Deaf(hub.leaf_port) as way, device(hub, tmp_path / "pi-1", way, Hasty()) as pi:
        leaf = pi.leaf.pid
        hub.kill()
        count = len(pi.tried)
        await until(lambda: len(pi.tried) > count + 6, "some heartbeats fail")
        assert pi.repair.repairs is None and pi.leaf.pid == leaf
        await hub.start()
        await pi.until_good()
        assert pi.leaf.pid == leaf and pi.leaf.restarts == 0


class Hasty(LinkDoubt):
    """Climbs without pauses."""

    def unanswered(self) -> Step | None:
        self._not_before = float("-inf")
        return super().unanswered()


async def test_the_repair_climbs_until_the_leaf_begins_anew(
    hub: TrustHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub keeps links and acknowledges nothing: as if its store were ill. What can be tried is tried, in order."""
    monkeypatch.setattr(linkdoubt, "LADDER", (Step.DIAL, Step.RELOAD))
    client = await hub.connect("HUB")
    async with Deaf(hub.leaf_port) as way, device(hub, tmp_path / "pi-1", way, Hasty()) as pi:
        leaf = pi.leaf.pid
        await client.jetstream().delete_stream("EDGE_REPORTS")
        await until(lambda: pi.count(Step.RESTART) > 0, "the leaf was restarted")
        assert pi.leaf.pid != leaf and pi.count(Step.DIAL) == 1 and pi.count(Step.RELOAD) == 1
        dialled = pi.count(Step.DIAL)
        await until(lambda: pi.count(Step.DIAL) > dialled, "after that it only dials")
        assert pi.count(Step.RESTART) == 1
        await hub_streams(hub)
        await pi.until_good()
        severity, kind, data = pi.told[-1]
        assert (severity, kind, data["restarted"], data["reloaded"]) == ("warning", "link.repaired", 1, 1)


async def hub_streams(hub: TrustHub) -> None:
    from edgeagent.hub import streams

    await streams.ensure((await hub.connect("HUB")).jetstream(), 1 << 30)


async def test_a_leaf_that_hangs_is_restarted(hub: TrustHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped, so it answers nobody, and does not end either when it is asked to."""
    monkeypatch.setattr(linkdoubt, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(linkdoubt, "SILENT_QUESTIONS", 1)
    async with Deaf(hub.leaf_port) as way, device(hub, tmp_path / "pi-1", way) as pi:
        leaf = pi.leaf.pid
        assert leaf
        pi.leaf._supervisor._timing = pi.leaf._supervisor._timing.__class__(grace_seconds=0.1)
        os.kill(leaf, signal.SIGSTOP)
        await until(lambda: pi.count(Step.RESTART) == 1, "it is restarted")
        await pi.until_good()
        assert not is_alive(leaf) and pi.leaf.pid != leaf
