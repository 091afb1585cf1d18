"""Which samples of a chunk are told: what makes no sense costs its own device that, and is counted."""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta, timezone

import msgspec
import pytest

from edgeagent.chunk import Message, Point, Progress, decode_metrics, encode_metrics, pack, points_of, unpack
from edgeagent.direct import Stored
from edgeagent.fleet.leftout import AHEAD, LeftOut
from edgeagent.fleet.metricnewest import MAX_SERIES, Newest
from edgeagent.fleet.metricpoints import ALL, MAX_POINTS, Measured, Wanted, measured
from edgeagent.sample import Sample

NOW = datetime(2026, 11, 21, 10, tzinfo=timezone.utc)
NOW_MS = int(NOW.timestamp() * 1000)
CPU = "system.cpu.utilization"


def point(time_ms: int, value: float = 1, metric: str = CPU, source: str = "agent", **attributes: str) -> Point:
    return Point(source, Sample(metric, value, attributes), time_ms)


def stored(payload: bytes, device: str = "pi-01") -> Stored:
    return Stored(f"edge.from.{device}.metric", 7, NOW, payload, False)


def chunk(*points: Point) -> bytes:
    return encode_metrics(Progress(next=2), [Message(1, 1)], points)


def told(*points: Point, device: str = "pi-01", wanted: Wanted = ALL) -> list[Measured]:
    return measured(stored(chunk(*points), device), LeftOut(), wanted)


def test_all_that_a_chunk_says_of_a_sample_is_told_as_chunks_read_it() -> None:
    sample = Sample("disk.io", 1e300, {"way": "in", "device": "sda"}, unit="By", kind="counter")
    payload = chunk(Point("agent", sample, NOW_MS, estimated=True), point(NOW_MS, -3))
    found = measured(stored(payload), LeftOut())
    read = list(points_of(decode_metrics(payload)))
    assert [
        (
            each.series.source,
            each.series.metric,
            dict(each.series.attributes),
            each.series.unit,
            each.series.kind,
            each.value,
            each.estimated,
        )
        for each in found
    ] == [
        (
            each.source,
            each.sample.metric,
            each.sample.attributes,
            each.sample.unit,
            each.sample.kind,
            each.sample.value,
            each.estimated,
        )
        for each in read
    ]


def test_samples_come_by_their_times_with_the_device_that_the_hub_vouches_for() -> None:
    found = told(point(NOW_MS - 1, 2), point(NOW_MS - 5, 3, "pi-99.lies", "pi-99"))
    assert [(each.device, each.series.source, each.series.metric, each.time_ms) for each in found] == [
        ("pi-01", "pi-99", "pi-99.lies", NOW_MS - 5),
        ("pi-01", "agent", CPU, NOW_MS - 1),
    ]


def changed(**fields: object) -> bytes:
    head = msgspec.json.decode(unpack(chunk(point(NOW_MS))))
    return pack(msgspec.json.encode({**head, **fields}))


@pytest.mark.parametrize(
    "payload",
    [
        b"\x00\xff" * 250_000,
        b"",
        pack(b" " * (1 << 21)),
        zlib.compress(b"0" * 100_000_000),
        changed(of=[1]),
        changed(of=[-1]),
        changed(of=[0, 0]),
        changed(at=[1 << 62]),
        changed(at=[-5]),
        changed(series=[["agent", "no name\u001b[31m"]]),
        changed(values=["1"]),
        changed(values=[1 << 64]),
        changed(of=[0] * (MAX_POINTS + 1), at=[0] * (MAX_POINTS + 1), values=[0] * (MAX_POINTS + 1)),
    ],
    ids=[
        *("nonsense", "empty", "too-large", "bomb", "no-such-series", "negative-series", "uneven", "huge-time", "negative-time"),
        *("bad-name", "text-value", "large-value", "too-many"),
    ],
)
def test_a_chunk_that_makes_no_sense_has_none_and_is_counted_with_its_device(payload: bytes) -> None:
    left = LeftOut()
    assert measured(stored(payload, "pi-09"), left) == [] == measured(stored(payload, "pi-09"), left)
    assert list(left.unreadable) == ["pi-09"] and left.unreadable["pi-09"][0] == 2
    (sentence,) = left.sentences()
    assert sentence.startswith("pi-09: 2 ")


def test_samples_of_times_to_come_are_counted_and_the_others_told() -> None:
    left, latest = LeftOut(), NOW_MS + int(AHEAD.total_seconds() * 1000)
    found = measured(stored(chunk(point(NOW_MS), point(latest), point(latest + 1), point(16_000_000_000_000))), left)
    assert [each.time_ms for each in found] == [NOW_MS, latest]
    assert left.ahead == {"pi-01": 2} and "2 with a time in the future" in left.sentences()[0]


@pytest.mark.parametrize(
    ("wanted", "values"),
    [
        (ALL, [1, 2, 3]),
        (Wanted(metric="system.*"), [1]),
        (Wanted(metric=CPU), [1]),
        (Wanted(metric="system"), []),
        (Wanted(metric="disk.i?"), [2, 3]),
        (Wanted(source="smart"), [3]),
        (Wanted(attributes={"device": "sda"}), [2, 3]),
        (Wanted(attributes={"device": "sda", "way": "in"}), [2]),
        (Wanted(since_ms=NOW_MS - 1), [2, 3]),
        (Wanted(until_ms=NOW_MS), [1, 2]),
    ],
    ids=["all", "glob", "name", "no-part", "mark", "source", "attribute", "attributes", "since", "until"],
)
def test_what_is_wanted(wanted: Wanted, values: list[int]) -> None:
    found = told(
        point(NOW_MS - 2, 1),
        point(NOW_MS - 1, 2, "disk.io", device="sda", way="in"),
        point(NOW_MS, 3, "disk.io", "smart", device="sda"),
        wanted=wanted,
    )
    assert [each.value for each in found] == values


def test_the_newest_of_each_series_counts_whenever_it_comes() -> None:
    newest = Newest(LeftOut())
    newest.add(told(point(NOW_MS, 5), point(NOW_MS - 9, 7, "disk.io", device="sda")))
    newest.add(told(point(NOW_MS - 9, 4), point(NOW_MS - 8, 8, "disk.io", device="sdb")))
    newest.add(told(point(NOW_MS - 1, 1), device="pi-02"))
    assert [(each.device, each.series.metric, each.value) for each in newest.series()] == [
        ("pi-01", "disk.io", 7),
        ("pi-01", "disk.io", 8),
        ("pi-01", CPU, 5),
        ("pi-02", CPU, 1),
    ]
    disk, cpu = newest.metrics()
    assert (disk.name, disk.devices, disk.series, disk.lowest, disk.highest, disk.time_ms) == ("disk.io", 1, 2, 7, 8, NOW_MS - 8)
    assert (cpu.name, cpu.devices, cpu.series, cpu.lowest, cpu.highest, cpu.time_ms) == (CPU, 2, 2, 1, 5, NOW_MS)


def test_a_device_that_invents_series_fills_no_memory_and_hides_no_other() -> None:
    left = LeftOut()
    newest = Newest(left)
    newest.add(told(*(point(NOW_MS, 1, "x", a=str(number)) for number in range(MAX_SERIES + 5))))
    newest.add(told(point(NOW_MS), device="pi-02"))
    assert len(newest.series()) == MAX_SERIES + 1 and left.more == {"pi-01": 5}
    assert newest.devices == {"pi-01", "pi-02"}


def test_nothing_left_out_says_nothing() -> None:
    left = LeftOut()
    assert measured(stored(chunk(point(NOW_MS))), left) and left.sentences() == [] and timedelta(0) < AHEAD
