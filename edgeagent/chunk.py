"""Chunks: what a device's forwarder stores on the hub, one message for many local ones (docs/wire.md, "Chunks"). Pure.

A chunk is one line of JSON, its head, and for messages of programs (``edge.from.<id>.data``) their bytes after it. The head says which
messages of the device's local stream are in it, by sequence and time, and how far the device has come (:class:`Progress`): the newest
chunk on the hub is the forwarder's only memory. The whole may be compressed: zlib (RFC 1950) with a preset dictionary, which its
DICTID names, because most of a small chunk are names that every chunk has.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from edgeagent.chunkdictionary import DICTIONARIES, NEWEST
from edgeagent.errors import Failed
from edgeagent.sample import Sample, tolerated

__all__ = [
    "END_OF_TIME",
    "HEADERS_BYTES",
    "MAX_CHUNK_BYTES",
    "MAX_DATA_CHUNK_BYTES",
    "MAX_MESSAGE_BYTES",
    "MAX_SAMPLES",
    "DataChunk",
    "Message",
    "MetricChunk",
    "Point",
    "Progress",
    "decode_data",
    "decode_metrics",
    "encode_data",
    "encode_metrics",
    "messages_of",
    "pack",
    "points_of",
    "unpack",
]

VERSION = 1
#: Samples in one chunk, unless one local message has more.
MAX_SAMPLES = 500
#: What the hub's stream of samples takes in one message, compressed; and what a reader unpacks at most: whoever stored it may lie.
MAX_CHUNK_BYTES = 32 << 10
MAX_UNPACKED_BYTES = 1 << 20
#: One message of a program, and what the hub's stream of them takes in one message: it has room for the largest and its head.
MAX_MESSAGE_BYTES = 512 << 10
MAX_DATA_CHUNK_BYTES = MAX_MESSAGE_BYTES + (16 << 10)
#: What the hub's streams take besides, for JetStream counts a message's headers too: the fence of a chunk.
HEADERS_BYTES = 1 << 10
_WHAT = "read a chunk"
#: Sequences and times are whole numbers that every JSON reader can hold only as far as the text does: times are in nanoseconds, so
#: readers in JavaScript need a parser with big integers.
_LEVEL = 9
#: Samples and messages are of a time before this, in Unix milliseconds (the year 2514): :class:`Sample` has the same bound.
END_OF_TIME = (1 << 34) * 1000

#: Bounds of the numbers in a head, so that no reader's arithmetic fails: counts and sequences are exact as floats too, times fit into
#: 64 bits, and so do distances.
_MAX_SEQUENCE, _MAX_TIME = 1 << 53, (1 << 63) - 1
Count = Annotated[int, msgspec.Meta(ge=0, le=_MAX_SEQUENCE)]
Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=_MAX_TIME)]
Distance = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Cause = Annotated[str, msgspec.Meta(max_length=64)]


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a device has come with one local stream, as of a chunk and with it.

    log: when the local stream was made, Unix nanoseconds: another one is another log. epoch: counts how often its numbers began anew
    (a new card, a store that went back). next: every message below it was sent or dropped, but for those in ``gaps``: pairs of
    first and last sequence. forwarded: messages that were sent, by this device in all its epochs. dropped: messages that never will
    be, by cause. edge: sequence and time of the highest message that was sent under this log; None: it is in the chunk itself.
    filled: the same of the last one that was sent out of a gap, or before the first of them (0, 0: nothing
    was); None: there is no gap, or it is in the chunk.
    base: of which older epoch this one goes on, and after which message (sequence, time); None: it began with an empty log.
    """

    log: Nanoseconds = 0
    epoch: Count = 0
    next: Count = 1
    gaps: Annotated[list[tuple[Count, Count]], msgspec.Meta(max_length=64)] = []
    forwarded: Count = 0
    dropped: Annotated[dict[Cause, Count], msgspec.Meta(max_length=64)] = {}
    edge: tuple[Count, Nanoseconds] | None = None
    filled: tuple[Count, Nanoseconds] | None = None
    base: tuple[Count, Count, Nanoseconds] | None = None


class Message(NamedTuple):
    """One message of the local stream. time: when the leaf stored it, by the device's clock, Unix nanoseconds."""

    sequence: int
    time: int


class Point(NamedTuple):
    """One sample with its source and its time, Unix milliseconds, as the device knew it when it sent the chunk. estimated: it did not."""

    source: str
    sample: Sample
    time_ms: int
    estimated: bool = False


class _Chunk(msgspec.Struct, omit_defaults=True):
    """sequences, times: of the messages in it, the first one and then each one's distance from the one before."""

    progress: Progress
    sequences: list[Distance]
    times: list[Distance]
    v: int = VERSION


class Series(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What the points of one line have in common; see :class:`Sample`."""

    source: str
    metric: str
    attributes: dict[str, str] = {}
    unit: str = ""
    kind: str = ""


class MetricChunk(_Chunk, omit_defaults=True):
    """Samples: of each point its series (an index), its time (the first in Unix milliseconds, then distances) and its value.

    estimated: indexes of points whose time is a guess: the device's clock was wrong and could not be put right afterwards.
    """

    series: list[Series] = []
    of: list[Count] = []
    at: list[Distance] = []
    values: list[float | int] = []
    estimated: list[Count] = []


class DataChunk(_Chunk, omit_defaults=True):
    """Messages of programs: of each its topic (an index), when it was stored (Unix milliseconds) and how many bytes it has."""

    topics: list[str] = []
    of: list[Count] = []
    at: list[Distance] = []
    sizes: list[Count] = []


_AnyChunk = TypeVar("_AnyChunk", MetricChunk, DataChunk)


def encode_metrics(progress: Progress, messages: Sequence[Message], points: Sequence[Point]) -> bytes:
    """A chunk of samples, packed. Raises ValueError for a time that no reader takes."""
    _check_times(point.time_ms for point in points)
    numbers: dict[tuple[Any, ...], int] = {}
    series: list[Series] = []
    of = []
    for point in points:
        sample = point.sample
        key = (point.source, sample.metric, tuple(sorted(sample.attributes.items())), sample.unit, sample.kind)
        if key not in numbers:
            numbers[key] = len(series)
            series.append(Series(point.source, sample.metric, sample.attributes, sample.unit, sample.kind))
        of.append(numbers[key])
    chunk = MetricChunk(
        progress,
        _distances([message.sequence for message in messages]),
        _distances([message.time for message in messages]),
        series=series,
        of=of,
        at=_distances([point.time_ms for point in points]),
        values=[point.sample.value for point in points],
        estimated=[index for index, point in enumerate(points) if point.estimated],
    )
    return pack(msgspec.json.encode(chunk))


def decode_metrics(payload: bytes) -> MetricChunk:
    """The chunk in a message of the hub's. Raises Failed for what no device of ours would store."""
    return _decoded(unpack(payload), MetricChunk)


def points_of(chunk: MetricChunk) -> Iterator[Point]:
    """Its samples, in order. Raises Failed when it does not hold together."""
    guesses = set(chunk.estimated)
    try:
        for index, (of, time_ms, value) in enumerate(zip(chunk.of, accumulate(chunk.at), chunk.values, strict=True)):
            series = chunk.series[of]
            sample = Sample(series.metric, value, series.attributes, time_ms / 1000, *tolerated(series.unit, series.kind))
            yield Point(series.source, sample, time_ms, index in guesses)
    except (ValueError, IndexError, OverflowError) as error:
        raise Failed(_WHAT, str(error)) from None


def encode_data(progress: Progress, messages: Sequence[Message], bodies: Sequence[tuple[str, int, bytes]]) -> bytes:
    """A chunk of programs' messages. bodies: topic, when it was stored (true Unix milliseconds), and its bytes, of each message.

    Raises ValueError for a time that no reader takes.
    """
    _check_times(time_ms for _, time_ms, _ in bodies)
    topics = sorted({topic for topic, _, _ in bodies})
    chunk = DataChunk(
        progress,
        _distances([message.sequence for message in messages]),
        _distances([message.time for message in messages]),
        topics=topics,
        of=[topics.index(topic) for topic, _, _ in bodies],
        at=[time_ms for _, time_ms, _ in bodies],
        sizes=[len(body) for _, _, body in bodies],
    )
    return b"\n".join([msgspec.json.encode(chunk), b"".join(body for _, _, body in bodies)])


def decode_data(payload: bytes) -> tuple[DataChunk, list[tuple[str, int, bytes]]]:
    """The chunk in a message of the hub's, and its ``bodies`` as :func:`encode_data` takes them. Raises Failed."""
    head, _, rest = payload.partition(b"\n")
    chunk = _decoded(head, DataChunk)
    bodies, start = [], 0
    try:
        _check_times(chunk.at)
        for of, time_ms, size in zip(chunk.of, chunk.at, chunk.sizes, strict=True):
            bodies.append((chunk.topics[of], time_ms, rest[start : start + size]))
            start += size
    except (ValueError, IndexError) as error:
        raise Failed(_WHAT, str(error)) from None
    if start != len(rest):
        raise Failed(_WHAT, "its sizes are not those of its messages")
    return chunk, bodies


def messages_of(chunk: MetricChunk | DataChunk) -> list[Message]:
    """The local messages in it, in order. Raises Failed."""
    if len(chunk.sequences) != len(chunk.times):
        raise Failed(_WHAT, "it has not as many times as sequences")
    messages = [Message(*pair) for pair in zip(accumulate(chunk.sequences), accumulate(chunk.times), strict=True)]
    if not all(0 < each.sequence <= _MAX_SEQUENCE and 0 <= each.time <= _MAX_TIME for each in messages):
        raise Failed(_WHAT, "it has sequences or times that are none")
    return messages


def pack(text: bytes) -> bytes:
    """zlib with the newest dictionary."""
    packer = zlib.compressobj(_LEVEL, zdict=DICTIONARIES[NEWEST])
    return packer.compress(text) + packer.flush()


def unpack(payload: bytes) -> bytes:
    """What :func:`pack` was given; what is not compressed stays as it is. Raises Failed."""
    if payload[:1] == b"{":
        return payload
    try:
        # CMF, FLG, DICTID (RFC 1950, 2.2); FDICT is the bit 0x20 of FLG.
        dictionary = DICTIONARIES[int.from_bytes(payload[2:6], "big")] if payload[0] == 0x78 and payload[1] & 0x20 else b""
        unpacker = zlib.decompressobj(zdict=dictionary)
        text = unpacker.decompress(payload, MAX_UNPACKED_BYTES)
    except KeyError:
        raise Failed(_WHAT, "it was made by a newer edgeagent", "upgrade this one") from None
    except (zlib.error, IndexError) as error:
        raise Failed(_WHAT, f"it is neither JSON nor zlib ({error})") from None
    if not unpacker.eof:
        raise Failed(_WHAT, f"it is cut off, or larger than {MAX_UNPACKED_BYTES} bytes")
    return text


def _decoded(text: bytes, shape: type[_AnyChunk]) -> _AnyChunk:
    try:
        return msgspec.json.decode(text, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(_WHAT, str(error)) from None


def _distances(numbers: Sequence[int]) -> list[int]:
    return [*numbers[:1], *(after - before for before, after in pairwise(numbers))]


def _check_times(times_ms: Iterable[int]) -> None:
    if not all(0 <= time_ms < END_OF_TIME for time_ms in times_ms):
        raise ValueError("a time in it is none")
