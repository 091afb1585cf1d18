"""What operators see of samples on a real hub: chunks through devices' own logins, also hostile ones, read by the API and the CLI."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from line_protocol_parser import parse_line

from edgeagent.chunk import Progress, encode_metrics
from edgeagent.demo.cable import Cable
from edgeagent.direct import hub_time
from edgeagent.errors import UsageProblem
from edgeagent.fleet import Fleet
from edgeagent.fleet.chosen import ALLOWED, Whose
from edgeagent.fleet.leftout import LeftOut
from edgeagent.fleet.metricpoints import Wanted
from edgeagent.fleet.storedchunks import AT_ONCE, moment_at, stored
from edgeagent.publish import published
from edgeagent.subjects import METRICS, metric
from edgeagent.trust.creds import Credentials
from tests.support.administering import inside
from tests.support.chunking import Sender, logins, now_ms, point, senders
from tests.support.fleet import LiveFleet, start_cli
from tests.support.servers import until
from tests.support.typed import typed

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    """A hub with no device that runs: pi-01 and pi-02 in berlin, pi-03 in munich, by their last reports."""
    with LiveFleet(tmp_path_factory.mktemp("metrics"), 0) as fleet, fleet.borrowed():
        yield fleet


@pytest.fixture(scope="module")
def known(hub: LiveFleet) -> dict[str, Credentials]:
    return asyncio.run(logins(hub))


@pytest_asyncio.fixture
async def devices(hub: LiveFleet, known: dict[str, Credentials]) -> AsyncIterator[dict[str, Sender]]:
    async with senders(hub, known) as found:
        yield found


@pytest_asyncio.fixture
async def fleet(hub: LiveFleet) -> AsyncIterator[Fleet]:
    async with Fleet() as opened:
        yield opened


async def told(fleet: Fleet, name: str, whose: Whose = ALLOWED, **more: Any) -> list[tuple[str, float]]:
    """Device and value of every sample of one metric, in the order in which they are told."""
    found = fleet.metrics.history(whose, since=more.pop("since", HOUR), metric_name=name, **more)
    return [(each.device, each.value) async for each in found]


# ---- the API ---------------------------------------------------------------------------------------------------------------


async def test_what_came_late_stands_where_it_belongs(fleet: Fleet, devices: dict[str, Sender]) -> None:
    now = now_ms()
    await devices["pi-01"].metrics(point(now - 2000, 3, "late.x"), point(now - 1000, 4, "late.x"))
    await devices["pi-02"].metrics(point(now - 1500, 3.5, "late.x"))
    await devices["pi-01"].metrics(point(now - 9000, 1, "late.x"), point(now - 8000, 2, "late.x"))
    left = LeftOut()
    assert await told(fleet, "late.x", left=left) == [("pi-01", 1), ("pi-01", 2), ("pi-01", 3), ("pi-02", 3.5), ("pi-01", 4)]
    assert left.sentences() == []


async def test_only_what_is_asked_for_is_told(fleet: Fleet, devices: dict[str, Sender]) -> None:
    now = now_ms()
    for number, sender in enumerate(devices.values(), 1):
        old, new = now - 7_200_000, now - 1000
        await sender.metrics(point(old, number, "asked.x"), point(new, 10 + number, "asked.x"), point(new, 7, "asked.y", "app"))
    assert await told(fleet, "asked.x") == [("pi-01", 11), ("pi-02", 12), ("pi-03", 13)]
    assert await told(fleet, "asked.x", Whose(groups=["berlin"])) == [("pi-01", 11), ("pi-02", 12)]
    assert await told(fleet, "asked.x", Whose(labels=["site=north"])) == [("pi-01", 11), ("pi-03", 13)]
    assert await told(fleet, "asked.x", Whose(where="id == 'pi-03'")) == [("pi-03", 13)]
    assert await told(fleet, "asked.x", Whose(devices=["pi-02", "pi-03"]), since=3 * HOUR) == [
        ("pi-02", 2),
        ("pi-03", 3),
        ("pi-02", 12),
        ("pi-03", 13),
    ]
    assert await told(fleet, "asked.x", Whose(devices=["pi-02"]), since=3 * HOUR, until=HOUR) == [("pi-02", 2)]
    assert await told(fleet, "asked.*", Whose(devices=["pi-02"]), source="app") == [("pi-02", 7)]


async def test_only_what_was_stored_since_then_is_read(fleet: Fleet, devices: dict[str, Sender]) -> None:
    await devices["pi-01"].metrics(point(now_ms(), 1, "read.x"))
    moment = await hub_time(fleet.client)
    await until(lambda: _later(fleet, moment), "the hub's clock has gone on")
    after = await hub_time(fleet.client)
    await devices["pi-01"].metrics(point(now_ms(), 2, "read.x"))
    await devices["pi-02"].metrics(point(now_ms(), 3, "read.x"))

    async def read(devices: tuple[str, ...] | None, **more: Any) -> list[int]:
        return [item.sequence async for item in stored(fleet.client, METRICS, metric, devices, **more)]

    everything = await read(("pi-01",))
    one = await read(("pi-01",), since=after)
    assert len(everything) >= 2 and one == everything[-1:]
    assert await read(("pi-02", "pi-01"), since=after) == [one[0], one[0] + 1]
    many = ("pi-01", *(f"pi-{number}" for number in range(100, 100 + AT_ONCE)))
    assert await read(many, since=after) == one
    assert await read((), since=after) == [] == await read(None, since=after + HOUR)
    assert await read(("pi-01",), first=one[0]) == one
    assert await moment_at(fleet.client, after) is after and await moment_at(fleet.client, HOUR) > after - HOUR


async def _later(fleet: Fleet, moment: Any) -> bool:
    return bool(await hub_time(fleet.client) > moment + timedelta(milliseconds=5))


async def test_a_device_that_was_quiet_for_long_still_has_its_newest_value(fleet: Fleet, devices: dict[str, Sender]) -> None:
    await devices["pi-03"].metrics(point(now_ms() - 5000, 42, "quiet.x"))
    newest = await fleet.metrics.newest(
        Whose(devices=["pi-03"]), since=await hub_time(fleet.client) + HOUR, wanted=Wanted(metric="quiet.*")
    )
    assert [each.value for each in newest.series()] == [42]


async def test_a_device_that_was_forgotten_can_be_named_as_long_as_it_has_samples(hub: LiveFleet, fleet: Fleet) -> None:
    async with inside(hub) as client:
        await published(client, metric("pi-77"), encode_metrics(Progress(), [], [point(now_ms(), 5, "gone.x")]))
    assert await told(fleet, "gone.x", Whose(devices=["pi-77"])) == [("pi-77", 5)]
    with pytest.raises(UsageProblem, match="the hub knows no such device"):
        await told(fleet, "gone.x", Whose(devices=["pi-78"]))


async def test_without_await(devices: dict[str, Sender]) -> None:
    await devices["pi-01"].metrics(point(now_ms(), 1, "sync.x"), point(now_ms(), 2, "sync.x"))

    def read() -> list[float]:
        with Fleet.sync() as fleet:
            return [each.value for each in fleet.each(fleet.fleet.metrics.history(since=HOUR, metric_name="sync.x"))]

    assert await asyncio.to_thread(read) == [1, 2]


async def test_who_is_not_there_is_said_with_the_name_that_comes_near(fleet: Fleet, devices: dict[str, Sender]) -> None:
    for whose, words in (
        (Whose(devices=["pi-0"]), "did you mean 'pi-0"),
        (Whose(groups=["berln"]), "did you mean 'berlin'"),
        (Whose(where="site =="), "cannot"),
        (Whose(devices=["pi-01"], everybody=True), "--all"),
    ):
        with pytest.raises(UsageProblem) as caught:
            await told(fleet, "x", whose)
        assert words.lower() in str(caught.value).lower()


# ---- live ------------------------------------------------------------------------------------------------------------------


class Tail:
    """Follows a metric in the background; values as they were told."""

    def __init__(self, fleet: Fleet, name: str, whose: Whose = ALLOWED) -> None:
        self.values: list[float] = []
        self.links: list[bool] = []
        self._ready = asyncio.Event()
        self._task = asyncio.create_task(self._run(fleet, name, whose))

    async def _run(self, fleet: Fleet, name: str, whose: Whose) -> None:
        points = fleet.metrics.tail(whose, wanted=Wanted(metric=name), ready=self._ready.set, on_link=self.links.append)
        async with aclosing(points):
            async for each in points:
                self.values.append(each.value)

    async def __aenter__(self) -> Tail:
        await until(lambda: self._ready.is_set() or self._task.done(), "the tail listens")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_a_tail_tells_what_comes_from_now_on(fleet: Fleet, devices: dict[str, Sender]) -> None:
    await devices["pi-01"].metrics(point(now_ms(), 0, "tail.x"))
    async with Tail(fleet, "tail.x") as every, Tail(fleet, "tail.x", Whose(groups=["berlin"])) as berlin:
        await devices["pi-03"].metrics(point(now_ms(), 3, "tail.x"))
        await devices["pi-01"].metrics(
            point(now_ms(), 2, "tail.x"), point(now_ms() - 50, 1, "tail.x"), point(now_ms(), 9, "tail.y")
        )
        await until(lambda: len(every.values) >= 3 and len(berlin.values) >= 2, "all are told")
        assert every.values == [3, 1, 2] and berlin.values == [1, 2]


async def test_what_came_while_the_link_was_away_is_told_once(hub: LiveFleet, devices: dict[str, Sender]) -> None:
    cable = Cable(("127.0.0.1", hub.hub.options().client_port))
    await cable.start()
    try:
        async with (
            Fleet(url=f"nats://127.0.0.1:{cable.port}", credentials=hub.credentials) as fleet,
            Tail(fleet, "cut.x") as tail,
        ):
            for number in range(0, 9, 3):
                await devices["pi-01"].metrics(point(now_ms(), number, "cut.x"))
                await until(lambda number=number: number in tail.values, "the link carries")  # type: ignore[misc]  # a default binds it
                await cable.cut()
                await devices["pi-01"].metrics(point(now_ms(), number + 1, "cut.x"))
                await devices["pi-02"].metrics(point(now_ms(), number + 2, "cut.x"))
                await cable.restore()
                await until(lambda number=number: number + 2 in tail.values, "what was missed is read")  # type: ignore[misc]  # as above
            assert tail.values == list(range(9))
    finally:
        await cable.close()


async def test_a_reader_that_is_too_slow_misses_nothing(
    fleet: Fleet, devices: dict[str, Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.fleet.following.WAITING_BYTES", 5000)
    ready, values = asyncio.Event(), list[float]()
    points = fleet.metrics.tail(wanted=Wanted(metric="slow.x"), ready=ready.set)
    async with aclosing(points):
        first = asyncio.ensure_future(anext(points))
        await ready.wait()
        for number in range(50):
            await devices["pi-01"].metrics(point(now_ms(), number, "slow.x"))
        values.append((await first).value)
        while values[-1] < 49:
            values.append((await anext(points)).value)
    assert values == list(range(50))


# ---- hostile devices ---------------------------------------------------------------------------------------------------------


async def test_a_hostile_device_breaks_nothing_of_others(fleet: Fleet, devices: dict[str, Sender]) -> None:
    good, bad, now = devices["pi-01"], devices["pi-02"], now_ms()
    far = encode_metrics(Progress(), [], [point(16_000_000_000_000, 1, "hostile.x"), point(now, 2, "hostile.x", "pi-01")])
    async with Tail(fleet, "hostile.x") as tail:
        await good.metrics(point(now - 3000, 10, "hostile.x"))
        for payload in (
            b"\x00" * 30_000,
            b"",
            zlib.compress(b"0" * 5_000_000),
            far,
            b'{"progress":{},"sequences":[],"times":[],"of":[7]}',
        ):
            await bad.store("metric", payload)
        forged = {
            "Nats-Subject": "edge.from.pi-01.metric",
            "Nats-Sequence": "999999999",
            "Nats-Time-Stamp": "2031-01-01T00:00:00Z",
        }
        await bad.store("metric", encode_metrics(Progress(), [], [point(now, 3, "hostile.x")]), forged)
        await bad.store("metric", encode_metrics(Progress(), [], [point(now, 4, "hostile.x")]), {"Status": "404"})
        await good.metrics(point(now + 1, 11, "hostile.x"))
        await until(lambda: 11 in tail.values, "the good device is heard")
        assert [value for value in tail.values if value >= 10] == [10, 11]
    left = LeftOut()
    found = await told(fleet, "hostile.x", left=left)
    assert [value for device, value in found if device == "pi-01"] == [10, 11]
    assert {value for device, value in found if device == "pi-02"} <= {2, 3, 4}, "under its own name, whatever it says"
    assert left.ahead == {"pi-02": 1} and list(left.unreadable) == ["pi-02"]
    newest = await fleet.metrics.newest(wanted=Wanted(metric="hostile.x"))
    assert {(each.device, each.value) for each in newest.series() if each.device == "pi-01"} == {("pi-01", 11)}


# ---- the command line --------------------------------------------------------------------------------------------------------


async def test_ls(devices: dict[str, Sender]) -> None:
    now = now_ms()
    await devices["pi-01"].metrics(
        point(now, 0.25, "ls.x", "evil\x1b[31m", attributes={"a": "\u202eb"}), point(now, 5, "ls.y", unit="By")
    )
    await devices["pi-02"].metrics(point(now, 0.75, "ls.x"))
    said = await typed("metrics", "ls", "--metric", "ls.*")
    assert said.code == 0 and "\x1b" not in said.out and "\u202e" not in said.out
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[0] == ["METRIC", "SOURCES", "DEVICES", "LOWEST", "HIGHEST", "WHEN"]
    assert lines[1][0] == "ls.x" and {"0.25", "0.75"} <= set(lines[1]) and lines[2][3:7] == ["5", "B", "5", "B"]
    assert (await typed("metrics", "ls", "-g", "berlin", "--metric", "ls.*", "-o", "name")).out.split() == ["ls.x", "ls.y"]
    one = json.loads((await typed("metrics", "ls", "-d", "pi-01", "--metric", "ls.*", "--json")).out)
    assert [(row["metric"], row["value"], row["unit"]) for row in one] == [("ls.x", 0.25, "1"), ("ls.y", 5, "By")]
    assert one[0]["source"] == "evil\x1b[31m" and one[0]["attributes"] == {"a": "\u202eb"}
    assert "metrics of that time is called 'nothing.*'" in (await typed("metrics", "ls", "--metric", "nothing.*")).err


async def test_show(devices: dict[str, Sender]) -> None:
    now = now_ms()
    for number in range(20):
        await devices["pi-01"].metrics(
            point(now - 20_000 + number * 1000, number, "show.x"), point(now, 1, "show.io", attributes={"way": "in"})
        )
    await devices["pi-01"].metrics(point(now, 2, "show.io", attributes={"way": "out"}))
    said = await typed("metrics", "show", "pi-01", "show.x", "--since", "1h")
    assert said.code == 0 and [line.split()[-1] for line in said.out.splitlines()] == ["VALUE", *map(str, range(20))]
    assert "min 0 · mean 9.5 · max 19 · last 19" in said.err and said.err.endswith("20 samples\n")
    both = await typed("metrics", "show", "pi-01", "show.io", "-o", "wide")
    assert "way=in" in both.out and "way=out: min 2" in both.err
    chosen = json.loads((await typed("metrics", "show", "pi-01", "show.io", "-a", "way=out", "--json")).out)
    assert [(row["value"], row["attributes"]) for row in chosen] == [(2, {"way": "out"})]
    plot = await typed("metrics", "show", "pi-01", "show.x", "--plot")
    assert len(plot.out.splitlines()) == 20 and "last 19" in plot.err
    assert "Did you mean 'show.io'" in (await typed("metrics", "show", "pi-01", "show.i")).err
    assert "Did you mean" in (await typed("metrics", "show", "pi-1", "show.x")).err
    assert (await typed("metrics", "show", "pi-01", "show.*")).code == 2
    assert (await typed("metrics", "show", "pi-01", "show.x", "--plot", "--json")).code == 2


@pytest.mark.parametrize(
    ("when", "why"),
    [(("--since", "1m", "--until", "1h"), "--until is before --since"), (("--since", "2199-01-01"), "still to come")],
    ids=["backwards", "to come"],
)
async def test_a_time_that_cannot_be_meant_is_said(devices: dict[str, Sender], when: tuple[str, ...], why: str) -> None:
    for words in (("metrics", "export"), ("data", "export", ">")):
        said = await typed(*words, *when)
        assert said.code == 2 and why in said.err


@pytest.mark.parametrize("form", ["ndjson", "csv", "influx"])
async def test_export(devices: dict[str, Sender], tmp_path: Path, form: str) -> None:
    now = now_ms()
    for number in range(5):
        await devices["pi-03"].metrics(
            *(point(now - 1000 + number * 10 + each, number * 10 + each, f"export.{form}") for each in range(10))
        )
    words = ["metrics", "export", "-o", form, "-d", "pi-03", "--since", "1h", "--metric", f"export.{form}"]
    said = await typed(*words)
    read = {
        "ndjson": lambda text: [json.loads(line)["value"] for line in text.splitlines()],
        "csv": lambda text: [float(row["value"]) for row in csv.DictReader(io.StringIO(text))],
        "influx": lambda text: [parse_line(line)["fields"]["value"] for line in text.splitlines()],
    }[form]
    assert said.code == 0 and read(said.out) == list(range(50)) and "50 samples in " in said.err
    file = tmp_path / "out"
    assert (await typed(*words, "-O", str(file))).out == "" and file.read_text() == said.out


async def test_who_reads_a_pipe_and_leaves_ends_it_quietly(devices: dict[str, Sender]) -> None:
    tail = start_cli("metrics", "tail", "--metric", "pipe.x", "--json")
    try:
        assert tail.stderr and tail.stdout
        assert "listening" in await asyncio.to_thread(tail.stderr.readline)
        await devices["pi-01"].metrics(point(now_ms(), 1, "pipe.x"))
        assert json.loads(await asyncio.to_thread(tail.stdout.readline))["value"] == 1
        tail.stdout.close()
        assert await asyncio.to_thread(tail.wait, 30) == 0 and await asyncio.to_thread(tail.stderr.read) == ""
    finally:
        tail.kill()
        tail.wait()


async def test_a_viewer_of_a_group_reads_that_group_unless_others_are_named(
    hub: LiveFleet, devices: dict[str, Sender], tmp_path: Path
) -> None:
    for number, sender in enumerate(devices.values(), 1):
        await sender.metrics(point(now_ms(), number, "viewer.x"))
    path = tmp_path / "vera.creds"
    path.touch(0o600)
    path.write_text(hub.owner.operator_credentials("vera", "viewer", groups=("munich",)).format())
    async with Fleet(url=hub.url, credentials=path) as vera:
        assert await told(vera, "viewer.x") == [("pi-03", 3)]
        assert await told(vera, "viewer.x", Whose(devices=["pi-01"])) == [("pi-01", 1)]
        assert len(await told(vera, "viewer.x", Whose(everybody=True))) == 3
        async with Tail(vera, "viewer.x") as tail:
            await devices["pi-01"].metrics(point(now_ms(), 8, "viewer.x"))
            await devices["pi-03"].metrics(point(now_ms(), 9, "viewer.x"))
            await until(lambda: 9 in tail.values, "its group is heard")
            assert tail.values == [9]
