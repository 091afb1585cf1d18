"""What deploy/ has for Prometheus and Grafana, with a real fleet: every panel's query returns data, and every rule can be asked."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

pytest.importorskip("prometheus_client")

from edgeagent import subjects, wire
from edgeagent.assembly.hubexports import HubExports
from edgeagent.assembly.hubhealth import HubHealth
from edgeagent.assembly.hublogin import sign_in
from edgeagent.chunk import Progress
from edgeagent.command import Result
from edgeagent.hub.alarmwatch import AlarmWatch
from edgeagent.hub.cluster import ALONE
from edgeagent.hub.exportsettings import MetricsOptions, RemoteWriteOptions
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.ownevents import OwnEvents
from edgeagent.natsserver import ports
from edgeagent.publish import published
from edgeagent.runtime import Tasks
from edgeagent.sample import COUNTER
from tests.support import prometheus
from tests.support.administering import inside
from tests.support.exporting import exports, point, store
from tests.support.fleet import PATIENT, LiveFleet
from tests.support.prometheus import DEPLOY, Prometheus
from tests.support.servers import until

DASHBOARDS = sorted((DEPLOY.parent / "grafana" / "dashboards").glob("*.json"))
DEVICE = "pi-01"
#: One that is raised as soon as something is measured.
ALERT = '[alert]\nrunning = "system.uptime >= 0"\n'


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    prometheus.needed()
    with LiveFleet(tmp_path_factory.mktemp("dashboards"), 1, PATIENT, more=lambda device: ALERT) as fleet:
        yield fleet


def queries(path: Path) -> list[tuple[str, str]]:
    """The title of each panel and its queries, as Grafana would ask them about the device."""
    dashboard, found = json.loads(path.read_text()), []
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "1m").replace("$device", DEVICE)
            assert "$" not in query, f"{panel['title']}: {query} has a variable that is not known here"
            found.append((panel["title"], query))
    return found


def rules() -> list[str]:
    text = (DEPLOY / "edgeagent.rules.yml").read_text()
    return re.findall(r"expr: (?:>\n)?((?:.|\n)*?)\n +(?:for|labels|annotations):", text)


@pytest_asyncio.fixture
async def server(live: LiveFleet, tmp_path: Path) -> AsyncIterator[Prometheus]:
    """A Prometheus that scrapes this hub's exports and is written to by them."""
    port = ports.pick()
    async with prometheus.running(tmp_path / "prometheus", port) as server, inside(live) as hub:
        system = await sign_in(live.hub, Keyring.load(live.hub.path), "sys")
        health = HubHealth(system, hub, ALONE, AlarmWatch(system, hub, OwnEvents(hub)))
        wanted = exports(
            metrics=MetricsOptions(listen=f"127.0.0.1:{port}"), remote_write=RemoteWriteOptions(url=server.write_url)
        )
        tasks = Tasks()
        tasks.start("health", health.run())
        HubExports(live.hub, live.hub.options(), wanted, hub, health).start(tasks)
        try:
            yield server
        finally:
            await tasks.close()
            await system.close()


async def measure(live: LiveFleet, now: float) -> None:
    """What the collectors of a device measure, as its forwarder stores it; and a command that ended."""
    async with inside(live) as hub:
        for ago in (60, 40, 20, 0):
            at = now - ago
            points = [
                point("system.cpu.utilization", 0.5, at, "1"),
                point("system.memory.utilization", 0.4, at, "1"),
                point("system.filesystem.utilization", 0.3, at, "1", system__filesystem__mountpoint="/"),
                point("hw.temperature", 48.5, at, "Cel", hw__id="cpu"),
                point("system.uptime", 1000 - ago, at, "s"),
                *(
                    point(
                        "system.network.io",
                        9000 - ago,
                        at,
                        "By",
                        COUNTER,
                        network__interface__name="eth0",
                        network__io__direction=way,
                    )
                    for way in ("receive", "transmit")
                ),
                point("system.disk.io", 7000 - ago, at, "By", COUNTER, system__device="mmcblk0", disk__io__direction="write"),
            ]
            await store(hub, DEVICE, points, Progress(next=9, forwarded=8, dropped={"full": 2}, gaps=[(3, 4)]))
        result = Result(id=f"command-{now}", state="succeeded", action="ping")
        await published(hub, subjects.result(DEVICE, f"c{int(now * 1000)}"), wire.encode(result))


async def test_every_panel_returns_data_and_every_rule_can_be_asked(live: LiveFleet, server: Prometheus) -> None:
    async def scraped() -> bool:
        return any(found["metric"]["device"] == DEVICE for found in await server.now("edgeagent_device_up == 1"))

    await until(scraped, "the device is up, says Prometheus")
    await measure(live, time.time())
    missing = {(path.stem, *query) for path in DASHBOARDS for query in queries(path)}
    assert len(missing) > 25

    async def all_there() -> bool:
        nonlocal missing
        missing = {found for found in missing if not await server.now(found[2])}
        return not missing

    try:
        await until(all_there, "every query returns data")
    except AssertionError:
        raise AssertionError(f"no data for {sorted(missing)}") from None
    assert len(rules()) == 21
    for rule in rules():
        await server.now(rule)
    targets = (await server.ask("targets"))["activeTargets"]
    assert [target["lastError"] for target in targets] == [""]


async def test_the_state_of_the_fleet_is_true(live: LiveFleet, server: Prometheus) -> None:
    async def value(query: str) -> float | None:
        found = await server.now(query)
        return float(found[0]["value"][1]) if found else None

    async def is_down() -> bool:
        return await value(f'edgeagent_device_up{{device="{DEVICE}"}}') == 0

    async def is_up() -> bool:
        return await value(f'edgeagent_device_up{{device="{DEVICE}"}}') == 1

    await until(is_up, "it is up")
    await asyncio.to_thread(live.cut, DEVICE)
    await until(is_down, "the cable is pulled, and that shows")
    (info,) = await server.now(f'edgeagent_device_info{{device="{DEVICE}",state="offline"}}')
    assert "groups" in info["metric"]
    days = await value(f'edgeagent_device_credentials_days_left{{device="{DEVICE}"}}')
    assert days is not None and 60 < days < 91
    fill = await value('edgeagent_hub_stream_bytes{stream="EDGE_REPORTS"}')
    limit = await value('edgeagent_hub_stream_limit_bytes{stream="EDGE_REPORTS"}')
    assert fill and limit and fill < limit
    assert await value(f'edgeagent_device_config_pending{{device="{DEVICE}"}}') == 0
    await asyncio.to_thread(live.restore, DEVICE)
    await until(is_up, "it is back")


def test_promtool_likes_the_files() -> None:
    prometheus.needed()
    for words in (["rules", "edgeagent.rules.yml"], ["config", "prometheus.yml"]):
        done = subprocess.run(["promtool", "check", *words], cwd=DEPLOY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_dashboards_are_whole() -> None:
    boards: list[dict[str, Any]] = [json.loads(path.read_text()) for path in DASHBOARDS]
    uids = {board["uid"] for board in boards}
    assert len(uids) == len(boards) == 2
    for board in boards:
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        linked = set(re.findall(r"/d/([a-z-]+)", json.dumps(board)))
        assert linked <= uids
