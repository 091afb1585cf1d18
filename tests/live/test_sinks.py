"""Samples written to others from a durable place: nothing is left out, whoever is away, and who sends nonsense harms himself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

pytest.importorskip("aiohttp")

from edgeagent import subjects
from edgeagent.errors import Unreachable
from edgeagent.hub import sinksconsumer, sinkspost
from edgeagent.hub.exportsettings import InfluxOptions, RemoteWriteOptions
from edgeagent.hub.sinks import Influx, RemoteWrite, Sink
from edgeagent.hub.sinksdelivery import Target
from edgeagent.link import Client
from edgeagent.publish import published
from edgeagent.runtime import Tasks
from tests.support import prometheus
from tests.support.exporting import Server, point, services, store
from tests.support.prometheus import Prometheus
from tests.support.provisioninghub import ProvisioningHub, started
from tests.support.servers import until

HOUR = 3600.0
STEP = 30


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisioningHub]:
    with started(tmp_path_factory.mktemp("sinks")) as place:
        yield place


@pytest_asyncio.fixture
async def hub(place: ProvisioningHub, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setattr(sinkspost, "RETRY_SECONDS", (0.05, 0.2))
    async with services(place, subjects.METRICS) as client:
        yield client


@contextlib.asynccontextmanager
async def running(sink: Sink) -> AsyncIterator[Sink]:
    tasks = Tasks()
    tasks.start(sink.name, sink.run())
    try:
        yield sink
    finally:
        await tasks.close()


def sink(hub: Client, target: Target) -> Sink:
    return Sink(hub, target, time.time)


def influx(server: Server) -> Influx:
    return Influx(InfluxOptions(url=server.url, database="pis"), Path())


def lines(server: Server) -> list[str]:
    return [line for posted in server.posted for line in posted.body.decode().splitlines()]


async def drained(sink: Sink) -> bool:
    await sink.look()
    return sink.tally.pending == 0


async def values(server: Prometheus, query: str, start: float, end: float) -> list[float]:
    """The times at which a query has a value, a step apart."""
    found = (await server.ask("query_range", query=query, start=start, end=end, step=STEP))["result"]
    return [moment for series in found for moment, _ in series["values"]]


async def test_a_device_that_was_away_for_an_hour_leaves_no_hole(hub: Client, tmp_path: Path) -> None:
    prometheus.needed()
    now = time.time() // STEP * STEP
    begin = now - 2 * HOUR
    moments = [begin + number * STEP for number in range(int(2 * HOUR / STEP) + 1)]
    away = [moment for moment in moments if begin + HOUR / 2 <= moment <= begin + 1.5 * HOUR]
    async with prometheus.running(tmp_path / "prometheus") as server:
        target = RemoteWrite(RemoteWriteOptions(url=server.write_url), tmp_path)
        async with running(sink(hub, target)) as writing:
            for chunk in (moments[-1:], [moment for moment in moments[:-1] if moment not in away]):
                await store(hub, "pi-01", [point("t", moment - begin, moment) for moment in chunk])
            await until(lambda: writing.tally.sent == len(moments) - len(away), "the first are written")
            query = 'last_over_time(t{device="pi-01"}[29s])'
            assert len(await values(server, query, begin, now)) == len(moments) - len(away)
            server.kill()
            for part in range(4):  # it is back, and Prometheus is not there
                await store(hub, "pi-01", [point("t", moment - begin, moment) for moment in away[part::4]])
            await until(lambda: writing.tally.retries > 0, "it is tried again")
            await server.start()
            await until(lambda: writing.tally.sent == len(moments), "all are written")
            assert await values(server, query, begin, now) == moments
            (last,) = (await server.ask("query", query='t{device="pi-01"}', time=now))["result"]
            assert float(last["value"][1]) == now - begin and not writing.tally.dropped


async def test_what_prometheus_refuses_of_one_device_costs_no_other_one(hub: Client, tmp_path: Path) -> None:
    """Older than its window, twice at one time, from the far future, odd labels, many series, and what is no chunk at all."""
    prometheus.needed()
    now = time.time() // 1
    odd = {"a": '"} 1\n{', "b": "\\", "c": "é" * 200, "__name__": "up", "device": "pi-01", "le": "+Inf"}
    bad = [point("old", number, now - 30 * 86400 + number) for number in range(300)]
    bad += [point("twice", 1, now), point("later", 1, now + HOUR), point("later", 1, 1 << 33)]
    bad += [point(f"many.{number}", number, now) for number in range(600)]
    async with prometheus.running(tmp_path / "prometheus") as server:
        writing = sink(hub, RemoteWrite(RemoteWriteOptions(url=server.write_url), tmp_path))
        await store(hub, "pi-01", [point("t", -1, now - 200)])
        async with running(writing):
            await until(lambda: writing.tally.sent == 1, "Prometheus knows what is new")
        await store(hub, "bad", bad)
        await store(hub, "bad", [point("twice", 2, now), point("odd", 1, now, **odd)])
        await published(hub, subjects.metric("bad"), b"\x78\x00nonsense")
        await store(hub, "pi-01", [point("t", number, now - 99 + number) for number in range(100)])
        async with running(writing):
            await until(lambda: drained(writing), "all are written or dropped")
        (good,) = await server.now('count_over_time(t{device="pi-01"}[5m])')
        assert good["value"][1] == "101"
        assert len(await server.now('{device="bad",__name__=~"many.*"}')) == 600
        (labels,) = [found["metric"] for found in await server.now('odd{device="bad"}')]
        assert labels["a"] == '"} 1\n{' and labels["exported_device"] == "pi-01" and labels["exported_le"] == "+Inf"
        assert writing.tally.dropped["future"] == 2 and writing.tally.dropped["unreadable"] == 1
        assert writing.tally.dropped["refused"] == 300


async def test_influx_gets_what_was_measured_while_it_was_away(hub: Client, tmp_path: Path) -> None:
    server = Server()
    async with running(sink(hub, influx(server))) as writing:
        async with server.running():
            await store(hub, "pi-01", [point("t", 1, 1_700_000_000.5, "Cel", zone="a b")])
            await until(lambda: len(server.posted) == 1, "the first is there")
        for number in range(2, 30):
            await store(hub, "pi-01", [point("t", number, 1_700_000_000 + number)])
        await until(lambda: writing.tally.retries > 0, "it is tried again")
        async with server.running():
            await until(lambda: writing.tally.sent == 29, "all are there")
    assert server.posted[0].path == "/write?db=pis&precision=ms"
    assert lines(server)[0] == r"t,device=pi-01,source=agent,zone=a\ b value=1.0 1700000000500"
    assert sorted({line.split("value=")[1].split()[0] for line in lines(server)}, key=float) == [f"{n}.0" for n in range(1, 30)]


async def test_who_is_told_to_wait_waits_and_what_is_refused_is_dropped(hub: Client) -> None:
    answers = {0: (429, {"Retry-After": "0"}), 1: 503, 2: 401, 3: 422, 4: 422}
    server = Server(lambda number: answers.get(number, 204))
    async with server.running(), running(sink(hub, influx(server))) as writing:
        await store(hub, "pi-01", [point("t", 1, 1_700_000_001)])
        await until(lambda: writing.tally.dropped["refused"] == 1, "the first is refused, after all")
        await store(hub, "pi-01", [point("t", 2, 1_700_000_002)])
        await until(lambda: writing.tally.sent == 1, "the second is taken")
    assert writing.tally.retries == 3 and [line.split()[1] for line in lines(server)] == ["value=2.0"]


async def test_two_instances_share_the_place_and_one_that_is_gone_loses_nothing(
    hub: Client, place: ProvisioningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinksconsumer, "ACK_WAIT_SECONDS", 1.0)
    server = Server(lambda number: 503)
    other = await place.connect(place.owner.service_credentials("hub"))
    async with server.running(), running(sink(hub, influx(server))) as second:
        async with running(sink(other, influx(server))) as first:
            for number in range(100):
                await store(hub, "pi-01", [point("t", number, 1_700_000_000 + number)])
            await until(lambda: first.tally.retries + second.tally.retries > 0, "one of them has taken some")
        server.answer = lambda number: 204
        await until(lambda: len({line.split()[1] for line in lines(server)}) == 100, "all are there")
        await until(lambda: drained(second), "and acknowledged")
    await other.close()


async def test_logins_and_cookies_of_others_are_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = Server(lambda number: (204, {"Set-Cookie": "a=b"}))
    url = server.url.replace("127.0.0.1", "localhost")  # cookies of bare addresses would be dropped anyway
    async with server.running(), sinkspost.Poster() as poster:
        for headers in ({}, {"Authorization": "Bearer abc"}):
            assert (await poster.post(sinkspost.Request(url, b"x", headers))).status == 204
    assert [posted.headers.get("Authorization") for posted in server.posted] == [None, "Bearer abc"]
    assert not any("Cookie" in posted.headers for posted in server.posted)


async def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    monkeypatch.setenv("http_proxy", server.url.replace("//", "//olga:secret@"))
    monkeypatch.setenv("no_proxy", "here.invalid")
    async with server.running(), sinkspost.Poster() as poster:
        assert (await poster.post(sinkspost.Request("http://there.invalid/hook", b"x", {}))).status == 204
        with pytest.raises(Unreachable):
            await poster.post(sinkspost.Request("http://here.invalid/hook", b"x", {}))
    assert [posted.headers["Host"] for posted in server.posted] == ["there.invalid"]
    assert server.posted[0].headers["Proxy-Authorization"].startswith("Basic ")
