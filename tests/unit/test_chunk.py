"""Chunks come back as they were made, are small, and whoever made a bad one takes no reader down."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from edgeagent.chunk import (
    END_OF_TIME,
    MAX_UNPACKED_BYTES,
    Message,
    Point,
    Progress,
    decode_data,
    decode_metrics,
    encode_data,
    encode_metrics,
    messages_of,
    pack,
    points_of,
    unpack,
)
from edgeagent.chunkdictionary import DICTIONARIES, NEWEST
from edgeagent.errors import Failed
from edgeagent.sample import MAX_UNIT, Sample
from tests.support.measuring import chunk_of, rounds

PROGRESS = Progress(log=1795281475682115644, epoch=2, next=78, gaps=[(3, 9)], forwarded=70, dropped={"retention": 4})
MESSAGES = [Message(76, 1795281475682115644), Message(77, 1795281505682115699)]
POINTS = [
    Point("agent", Sample("system.cpu.utilization", 0.25, {}, 1795281475.681, "1"), 1795281475681),
    Point("agent", Sample("system.uptime", 3600, {}, 1795281475.681, "s", "counter"), 1795281475681),
    Point("kitchen", Sample("kitchen.temperature", -3.5, {"room": "a"}, 1795281505.0), 1795281505000, estimated=True),
]
BODIES = [("doors.front", 1795281475681, b"a\nb"), ("doors.back", 1795281475999, b""), ("doors.front", 1795281475999, b"\x00")]


def test_samples_come_back() -> None:
    chunk = decode_metrics(encode_metrics(PROGRESS, MESSAGES, POINTS))
    assert (chunk.progress, messages_of(chunk), list(points_of(chunk))) == (PROGRESS, MESSAGES, POINTS)


def test_messages_of_programs_come_back() -> None:
    chunk, bodies = decode_data(encode_data(PROGRESS, MESSAGES, BODIES))
    assert (chunk.progress, messages_of(chunk), bodies) == (PROGRESS, MESSAGES, BODIES)


def test_plain_json_is_read_too() -> None:
    assert decode_metrics(unpack(encode_metrics(PROGRESS, MESSAGES, POINTS))).progress == PROGRESS


def test_the_dictionary_saves_more_than_half_of_a_small_chunk() -> None:
    packed = encode_metrics(PROGRESS, MESSAGES, POINTS[:2])
    assert len(packed) < len(zlib.compress(unpack(packed), 9)) / 1.5


def test_the_dictionary_fits_what_devices_measure(tmp_path: Path) -> None:
    found = list(rounds(tmp_path, 2))
    assert len(found[0]) <= 25, "every series costs 86,400 samples a month"
    packed = chunk_of(found)
    plain = unpack(packed)
    assert len(packed) < 300 < len(plain) / 5 and len(packed) < len(zlib.compress(plain, 9)) / 2
    assert int.from_bytes(packed[2:6], "big") == NEWEST and len(DICTIONARIES[NEWEST]) < 32 << 10, "zlib looks no further back"
    assert [point.sample.metric for point in points_of(decode_metrics(packed))] == [
        each.metric for both in found for each in both
    ]


HEAD = json.loads(unpack(encode_metrics(PROGRESS, MESSAGES, POINTS)))


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "neither JSON nor zlib"),
        (b"hello", "neither JSON nor zlib"),
        (b"\x78\xbb\x00\x00\x00\x00", "newer edgeagent"),
        (pack(b"{}")[:-3], "cut off"),
        (pack(b" " * (MAX_UNPACKED_BYTES + 1)), "larger than"),
        (b"{}", "progress"),
        (b'{"progress":' + b"[" * 5000, "cannot read a chunk"),
        (pack(b"\xff"), "cannot read a chunk"),
    ],
    ids=["empty", "text", "newer", "cut-off", "bomb", "headless", "deep", "no-utf8"],
)
def test_what_is_no_chunk(payload: bytes, words: str) -> None:
    with pytest.raises(Failed) as caught:
        decode_metrics(payload)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"of": [0]},
        {"of": [0, 1, 9]},
        {"of": [0, 1, -1]},
        {"at": [1 << 62, 1 << 62, 1 << 62]},
        {"series": [["agent", "a b"], ["agent", "b"], ["agent", "c"]]},
    ],
    ids=["fewer", "beyond", "negative", "far-future", "bad-name"],
)
def test_points_that_do_not_hold_together(change: dict[str, object]) -> None:
    with pytest.raises(Failed):
        list(points_of(decode_metrics(json.dumps({**HEAD, **change}).encode())))


BEYOND = int("1" + "0" * 400)


@pytest.mark.parametrize(
    "change",
    [
        {"progress": {"forwarded": BEYOND}},
        {"progress": {"forwarded": -1}},
        {"progress": {"dropped": {"retention": BEYOND}}},
        {"progress": {"dropped": {f"cause {number}": 1 for number in range(99)}}},
        {"progress": {"gaps": [[0, BEYOND]]}},
        {"progress": {"gaps": [[1, 2]] * 99}},
        {"progress": {"log": 1 << 63}},
        {"progress": {"edge": [1, BEYOND]}},
        {"sequences": [BEYOND, 1]},
        {"of": [0, 1, BEYOND]},
        {"sequences": [1 << 53, 1]},
        {"sequences": [1, -1]},
        {"times": [0, -1]},
    ],
    ids=[
        *("forwarded", "negative", "dropped", "many-causes", "gap", "many-gaps", "log", "edge", "sequence", "index"),
        *("sum", "sequence-0", "time-below-0"),
    ],
)
def test_numbers_beyond_all_bounds(change: dict[str, object]) -> None:
    """What follows them puts them into gauges and names."""
    with pytest.raises(Failed):
        messages_of(decode_metrics(json.dumps({**HEAD, **change}).encode()))


def test_units_and_kinds_of_other_versions_are_tolerated_within_bounds() -> None:
    series = [["agent", "a", {}, "x" * 100_000, "counter"], ["agent", "b", {}, "s", "histogram" * 1000]]
    found = list(points_of(decode_metrics(json.dumps({**HEAD, "series": series, "of": [0, 1, 0]}).encode())))
    assert {(point.sample.unit, point.sample.kind) for point in found} == {("x" * MAX_UNIT, "counter"), ("s", "")}


@pytest.mark.parametrize("time_ms", [-1, END_OF_TIME, BEYOND], ids=["negative", "far", "beyond"])
def test_no_message_is_of_such_a_time(time_ms: int) -> None:
    head, _, rest = encode_data(PROGRESS, MESSAGES[:1], BODIES[:1]).partition(b"\n")
    with pytest.raises(Failed):
        decode_data(json.dumps({**json.loads(head), "at": [time_ms]}).encode() + b"\n" + rest)
    with pytest.raises(ValueError, match="is none"):
        encode_data(PROGRESS, MESSAGES[:1], [("doors.front", time_ms, b"")])


def test_messages_that_do_not_hold_together() -> None:
    with pytest.raises(Failed):
        messages_of(decode_metrics(json.dumps({**HEAD, "times": [1]}).encode()))
    with pytest.raises(Failed, match="its sizes"):
        decode_data(encode_data(PROGRESS, MESSAGES, BODIES) + b"more")


def test_dictionaries_are_known_by_their_checksum() -> None:
    assert NEWEST in DICTIONARIES and all(zlib.adler32(text) == number for number, text in DICTIONARIES.items())
