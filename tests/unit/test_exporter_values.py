"""The newest values, whatever devices send; and what is shown of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest

pytest.importorskip("prometheus_client")

from edgeagent.chunk import Point, Progress, encode_metrics
from edgeagent.hub.exporter import rendered
from edgeagent.hub.exporterfamilies import Fill, fills, gauge, sample_families, tallies
from edgeagent.hub.exporterfollow import CHUNKS_AT_ONCE, SampleFollower, forwarding
from edgeagent.hub.exportervalues import MAX_LABELS, MAX_POINTS, NewestValues
from edgeagent.hub.sinks import Tally
from edgeagent.sample import Sample

NOW = 1_800_000_000.0


def point(value: float, metric: str = "a.b", *, ago: float = 0.0, kind: str = "", **attributes: str) -> Point:
    return Point("app", Sample(metric, value, attributes, kind=kind), int((NOW - ago) * 1000))


def values(**bounds: float) -> NewestValues:
    return NewestValues(**{"series_per_device": 100, "series": 1000, "current_seconds": 300, **bounds})  # type: ignore[arg-type]  # as given


def stored(seconds: float) -> datetime:
    """So long after NOW."""
    return datetime.fromtimestamp(NOW + seconds, timezone.utc)


def shown(table: NewestValues, now: float = NOW) -> list[str]:
    text = rendered(lambda: sample_families(table.current(now))).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_the_newest_counts_in_whatever_order_they_come() -> None:
    table = values()
    table.add("pi-01", [point(1, ago=20), point(2, ago=5), point(3, ago=60)], NOW)
    table.add("pi-02", [point(7)], NOW)
    assert sorted(shown(table)) == ['a_b{device="pi-01",source="app"} 2.0', 'a_b{device="pi-02",source="app"} 7.0']


def test_what_is_old_or_from_the_future_is_not_shown_but_counted() -> None:
    table = values()
    table.add("pi-01", [point(1, ago=301), point(2, ago=-301), point(3, "c", ago=-299)], NOW)
    assert shown(table) == ['c{device="pi-01",source="app"} 3.0']
    assert table.left_out == {"old": 1, "future": 1}


def test_what_was_current_leaves_and_makes_room() -> None:
    table = values(series=1)
    table.add("pi-01", [point(1)], NOW)
    table.add("pi-02", [point(2)], NOW)
    assert len(shown(table)) == 1 and table.left_out == {"series": 1}
    later = NOW + 301
    assert shown(table, later) == []
    table.expire(later)
    assert len(table) == 0
    table.add("pi-02", [point(2, ago=-301)], later)
    assert len(shown(table, later)) == 1


def test_one_device_cannot_take_the_room_of_others() -> None:
    table = values(series_per_device=10)
    table.add("bad", [point(1, f"m{number}") for number in range(500)], NOW)
    table.add("bad", [point(1, **{f"x{number}": "y" * 200 for number in range(6)})], NOW)
    table.add("pi-01", [point(2)], NOW)
    assert len(table) == 11 and table.left_out == {"series_per_device": 490, "labels": 1}
    assert 'a_b{device="pi-01",source="app"} 2.0' in shown(table)


def test_a_chunk_of_very_many_samples_is_cut_off() -> None:
    table, taken = values(), 0

    def endless() -> Iterator[Point]:
        nonlocal taken
        while True:
            taken += 1
            yield point(taken)

    table.add("bad", endless(), NOW)
    assert taken == MAX_POINTS + 1 and table.left_out == {"too_many": 1}


def test_text_of_devices_stays_text() -> None:
    table = values()
    table.add("pi-01", [point(1, x='"} 1\nup{job="hub"} 0\n\\')], NOW)
    assert shown(table) == [r'a_b{device="pi-01",source="app",x="\"} 1\nup{job=\"hub\"} 0\n\\"} 1.0']


def test_one_name_is_one_family_whatever_devices_mean_by_it() -> None:
    table = values()
    table.add("pi-01", [point(1, "a", kind="counter")], NOW)
    table.add("pi-02", [point(2, "a.total")], NOW)
    table.add("pi-02", [point(5, "a", kind="counter", ago=1)], NOW)
    text = rendered(lambda: sample_families(table.current(NOW))).decode()
    assert text.count("# TYPE") == 1 and text.count("a_total{") == 2
    assert 'a_total{device="pi-02",source="app"} 2.0' in text


def test_streams_and_sinks() -> None:
    tally = Tally()
    tally.sent, tally.dropped["future"] = 5, 2
    text = rendered(
        lambda: [*fills([Fill("EDGE_METRICS", 10, 100, 3), Fill("X", 1, -1, 1)]), *tallies({"influx": tally})]
    ).decode()
    assert 'edgeagent_hub_stream_limit_bytes{stream="EDGE_METRICS"} 100.0' in text and 'limit_bytes{stream="X"}' not in text
    assert 'edgeagent_hub_sink_samples_total{sink="influx"} 5.0' in text
    assert 'edgeagent_hub_sink_dropped_total{reason="future",sink="influx"} 2.0' in text


def test_how_far_a_device_has_come() -> None:
    progress = Progress(next=100, gaps=[(10, 19), (30, 30)], dropped={"full": 3, "BAD\n": 1, **{f"c{n}": 1 for n in range(20)}})
    _, found, waiting = forwarding(progress)
    assert waiting == 11
    assert sum(found.values()) == 24 and len(found) <= 9 and "BAD\n" not in found and "other" in found


def test_chunks_are_followed_by_sequence_and_nonsense_is_counted() -> None:
    follower = SampleFollower(None, table := values(), lambda: NOW)  # type: ignore[arg-type]  # nothing is asked
    follower.take("pi-01", stored(7), encode_metrics(Progress(forwarded=9), [], [point(1)]))
    follower.take("pi-01", stored(5), encode_metrics(Progress(forwarded=3), [], [point(2, "old", ago=200)]))
    follower.take("pi-01", stored(8), b"nonsense")
    follower.take("*", stored(9), encode_metrics(Progress(next=1), [], [point(9)]))
    assert follower.forwarding["pi-01"].forwarded == 9 and follower.unreadable == 1 and len(table) == 2
    follower.forget(set())
    assert follower.forwarding == {}


def test_a_flood_of_chunks_is_not_unpacked() -> None:
    follower = SampleFollower(None, values(), lambda: NOW)  # type: ignore[arg-type]  # nothing is asked
    for sequence in range(2 * CHUNKS_AT_ONCE):
        follower.take("bad", stored(sequence), b"nonsense")
    assert follower.unreadable + follower.flood == 2 * CHUNKS_AT_ONCE and follower.flood > CHUNKS_AT_ONCE / 2
    follower.take("pi-01", stored(1), encode_metrics(Progress(next=9), [], [point(1)]))
    assert "pi-01" in follower.forwarding


def claims(forwarded: str) -> bytes:
    """A chunk as no device of ours would write it."""
    return f'{{"progress":{{"forwarded":{forwarded},"dropped":{{"full":{forwarded}}},"gaps":[[1,{forwarded}]]}},"sequences":[],"times":[]}}'.encode()


def test_a_number_that_no_float_holds_breaks_nothing() -> None:
    follower = SampleFollower(None, None, lambda: NOW)  # type: ignore[arg-type]  # nothing is asked
    follower.take("bad", stored(1), claims("9" * 400))
    follower.take("worse", stored(1), claims("-" + "9" * 400))
    follower.take("pi-01", stored(2), claims("7"))
    assert all(
        0 <= number <= 1 << 53 for row in follower.forwarding.values() for number in (*row.dropped.values(), row[0], row[2])
    )
    assert follower.forwarding["pi-01"] == (7, {"full": 7}, 7)


def test_what_cannot_be_written_costs_nothing_else() -> None:
    rows = [({"device": "bad"}, 10**400), ({"device": "pi-01"}, 1), ({"device": 7}, 2)]
    text = rendered(lambda: [gauge("a", "b", rows), gauge("c", "d", [({}, 3)])]).decode()  # type: ignore[list-item]  # what is meant
    assert [line for line in text.splitlines() if line[0] != "#"] == ['a{device="pi-01"} 1.0', "c 3.0"]


def test_a_long_name_counts_as_its_labels_do() -> None:
    table = values()
    table.add("bad", [Point("s" * (MAX_LABELS - 100), Sample("m" * 100, 1), int(NOW * 1000))], NOW)
    assert table.left_out == {"labels": 1} and shown(table) == []


def test_a_hub_that_begins_anew_is_followed() -> None:
    """Its store was lost: what it stores now is newer, though sequences are lower."""
    follower = SampleFollower(None, None, lambda: NOW)  # type: ignore[arg-type]  # nothing is asked
    for sequence, seconds in ((50_000, 1), (3, 2)):
        headers = {"Nats-Stream": "S", "Nats-Subject": "edge.from.pi-01.metric", "Nats-Sequence": str(sequence)}
        headers["Nats-Time-Stamp"] = stored(seconds).isoformat()
        message = SimpleNamespace(subject="edge.live.pi-01.metric", headers=headers, data=claims(str(sequence)))
        asyncio.run(follower._heard(message))
    assert follower.forwarding["pi-01"].forwarded == 3
