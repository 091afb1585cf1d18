"""Samples in a real InfluxDB: none is missing, none is there twice, and what it does not take costs nobody else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

pytest.importorskip("aiohttp")

from edgeagent import subjects
from edgeagent.hub import sinkspost
from edgeagent.hub.exportsettings import InfluxOptions
from edgeagent.hub.sinks import Influx, Sink
from edgeagent.link import Client
from edgeagent.runtime import Tasks
from tests.support import influx
from tests.support.exporting import point, services, store
from tests.support.influx import DATABASE, PASSWORD, USER, Influxd
from tests.support.provisioninghub import ProvisioningHub, started
from tests.support.servers import until

HOUR, STEP = 3600, 30


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisioningHub]:
    with started(tmp_path_factory.mktemp("influx")) as place:
        yield place


@pytest_asyncio.fixture
async def hub(place: ProvisioningHub, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setattr(sinkspost, "RETRY_SECONDS", (0.05, 0.2))
    async with services(place, subjects.METRICS) as client:
        yield client


@contextlib.asynccontextmanager
async def writing(hub: Client, server: Influxd, folder: Path) -> AsyncIterator[Sink]:
    (folder / "password").write_text(PASSWORD)
    options = InfluxOptions(url=server.url, database=DATABASE, user=USER, password_file="password")
    sink, tasks = Sink(hub, Influx(options, folder), time.time, folder / "troubles"), Tasks()
    tasks.start(sink.name, sink.run())
    try:
        yield sink
    finally:
        await tasks.close()


async def drained(sink: Sink) -> bool:
    await sink.look()
    return sink.tally.pending == 0


async def rows(server: Influxd, query: str) -> list[list[float]]:
    """All of them, by time."""
    return [row for series in await server.ask(query) for row in series["values"]]


async def test_a_device_that_was_away_for_an_hour_leaves_no_hole_and_nothing_twice(hub: Client, tmp_path: Path) -> None:
    influx.needed()
    begin = (int(time.time()) // STEP * STEP - 2 * HOUR) * 1000 + 123  # milliseconds count
    moments = [begin + number * STEP * 1000 for number in range(2 * HOUR // STEP + 1)]
    away = [moment for moment in moments if HOUR / 2 <= (moment - begin) / 1000 <= 1.5 * HOUR]
    wanted = [[moment, float(moment - begin)] for moment in moments]
    query = "SELECT value FROM \"system.t\" WHERE device='pi-01' AND source='agent' AND \"zone id\"='a b,c'"

    async def stored(part: list[int]) -> None:
        await store(hub, "pi-01", [point("system.t", moment - begin, moment / 1000, **{"zone id": "a b,c"}) for moment in part])

    async with influx.running(tmp_path / "influxd") as server:
        async with writing(hub, server, tmp_path) as sink:
            await stored([moment for moment in moments if moment not in away])
            await until(lambda: sink.trouble.noted is not None, "it may not write there yet")
            assert sink.trouble.noted is not None and "403" in sink.trouble.noted.problem
            await server.ask(f"GRANT WRITE ON {DATABASE} TO {USER}")
            await until(lambda: sink.tally.sent == len(moments) - len(away), "the first are written")
            assert sink.trouble.noted is None
            server.kill()
            for part in range(4):  # it is back, and InfluxDB is not there
                await stored(away[part::4])
            await until(lambda: sink.trouble.noted is not None, "it is tried again")
            await server.start()
            await until(lambda: sink.tally.sent == len(moments), "all are written")
            assert await rows(server, query) == wanted and not sink.tally.dropped
        await hub.jetstream().delete_consumer(subjects.METRICS, "sink_influx")
        async with writing(hub, server, tmp_path) as sink:
            await until(lambda: sink.tally.sent == len(moments), "all are written again, by a hub that has lost its place")
        assert await rows(server, query) == wanted


async def test_lines_that_influx_does_not_take_hold_up_no_others(hub: Client, tmp_path: Path) -> None:
    """It answers 400 "partial write", takes the other lines, and says how many it left out."""
    influx.needed()
    now = float(int(time.time()))
    async with influx.running(tmp_path / "influxd") as server:
        await server.ask(f"GRANT WRITE ON {DATABASE} TO {USER}")
        await server.write(f'door,device=bad value="open" {int(now) * 1000}')
        await store(hub, "pi-01", [point("t", number, now - 60 + number) for number in range(50)])
        await store(hub, "bad", [point(metric, number, now - 60 + number) for number in range(30) for metric in ("door", "t")])
        await store(hub, "pi-02", [point("t", number, now - 60 + number) for number in range(50)])
        async with writing(hub, server, tmp_path) as sink:
            await until(lambda: drained(sink), "all are written or dropped")
        assert sink.tally.sent == 130 and sink.tally.dropped == {"refused": 30} and "type conflict" in sink.tally.problem
        for device, count in (("pi-01", 50), ("pi-02", 50), ("bad", 30)):
            assert [value for _, value in await rows(server, f"SELECT value FROM t WHERE device='{device}'")] == [*range(count)]
        assert [value for _, value in await rows(server, "SELECT value FROM door")] == ["open"]
