"""Chunks come back as they were made, are small, and whoever made a bad one takes no reader down."""

from __future__ import annotations

import json
import zlib

import pytest

from edgeagent.chunk import (
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
from edgeagent.sample import Sample

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


def test_messages_that_do_not_hold_together() -> None:
    with pytest.raises(Failed):
        messages_of(decode_metrics(json.dumps({**HEAD, "times": [1]}).encode()))
    with pytest.raises(Failed, match="its sizes"):
        decode_data(encode_data(PROGRESS, MESSAGES, BODIES) + b"more")


def test_dictionaries_are_known_by_their_checksum() -> None:
    assert NEWEST in DICTIONARIES and all(zlib.adler32(text) == number for number, text in DICTIONARIES.items())
