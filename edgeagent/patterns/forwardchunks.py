"""From messages of the local stream to a chunk: as many as fit into it, and what can never be sent counted by cause. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec.structs import replace

from edgeagent import chunk, localsubjects, sample, subjects
from edgeagent.chunk import Message, Point, Progress
from edgeagent.errors import UsageProblem

__all__ = ["DATA", "METRICS", "Draft", "Kind", "Local", "When", "as_stored"]

#: Why messages are dropped: no samples are in them; they cannot be made into a chunk that the hub takes.
MALFORMED, TOO_LARGE = "malformed", "too_large"
#: What the text of a chunk may have before it is packed, roughly, in bytes: far from what readers unpack at most.
_TEXT_BYTES = chunk.MAX_UNPACKED_BYTES // 2
#: The least that a series and a sample add to that text.
_SERIES_BYTES = 40
_MILLISECOND = 1_000_000


class Local(NamedTuple):
    """A message of the local stream. time: when the leaf stored it, by the device's clock, Unix nanoseconds."""

    sequence: int
    time: int
    subject: str
    data: bytes


#: When something happened, given its message and when its program says that it happened (Unix seconds; 0: it does not): Unix milliseconds,
#: and whether that is a guess.
When = Callable[[Local, float], tuple[int, bool]]


def as_stored(message: Local, own: float) -> tuple[int, bool]:
    """By a clock that is always right."""
    return (round(own * 1000) if own else message.time // _MILLISECOND), False


@dataclass
class Draft:
    """What is in a chunk to be. taken: how many of the messages were looked at. complaints: what is wrong with a message, and where."""

    taken: int = 0
    sent: list[Message] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    complaints: list[tuple[str, str]] = field(default_factory=list)
    size: int = 0

    def drop(self, cause: str, subject: str = "", why: str = "") -> None:
        self.dropped[cause] = self.dropped.get(cause, 0) + 1
        self.complaints += [(subject, why)] if why else []


class Kind(NamedTuple):
    """One of the two streams that are forwarded. page_bytes: what is read of it at once. limit: of a chunk, in bytes.

    draft: of the first messages of some, as many as fit. encode, decode: the chunk. say: its subject, of a device.
    """

    name: str
    local: str
    subject: str
    stream: str
    page_bytes: int
    limit: int
    draft: Callable[[Sequence[Local], When], Draft]
    encode: Callable[[Progress, Sequence[Message], Sequence[Any]], bytes]
    decode: Callable[[bytes], chunk.MetricChunk | chunk.DataChunk]
    say: Callable[[str], str]

    def build(self, messages: Sequence[Local], when: When, progress: Callable[[Draft], Progress]) -> tuple[Draft, bytes]:
        """The largest chunk that the hub takes of the first of ``messages``; empty when none of those that were looked at can be sent.

        progress: how far the device is with such a chunk.
        """
        while True:
            draft = self.draft(messages, when)
            if not draft.sent:
                return draft, b""
            cause = TOO_LARGE
            try:
                payload = self.encode(_without_own_edge(progress(draft), draft), draft.sent, draft.items)
                if len(payload) <= self.limit:
                    return draft, payload
            except (ValueError, OverflowError):  # a text or number that no JSON can say
                cause = MALFORMED
            if draft.taken == 1:
                return Draft(taken=1, dropped={cause: 1}), b""
            messages = messages[: draft.taken // 2]


def _without_own_edge(progress: Progress, draft: Draft) -> Progress:
    return replace(progress, edge=None) if progress.edge == tuple(draft.sent[-1]) else progress


def _samples(messages: Sequence[Local], when: When) -> Draft:
    draft = Draft()
    for message in messages:
        try:
            found = sample.parse(message.subject, message.data)
            source = sample.source_of(message.subject)
        except UsageProblem as error:
            draft.taken += 1
            draft.drop(MALFORMED, message.subject, error.why)
            continue
        size = sum(map(_text_bytes, found))
        if draft.sent and (len(draft.items) + len(found) > chunk.MAX_SAMPLES or draft.size + size > _TEXT_BYTES):
            break
        draft.taken += 1
        if size > _TEXT_BYTES:
            draft.drop(TOO_LARGE)
            continue
        draft.size += size
        draft.sent.append(Message(message.sequence, message.time))
        draft.items += [Point(source, each, *when(message, each.time)) for each in found]
    return draft


def _text_bytes(each: sample.Sample) -> int:
    attributes = sum(len(name) + len(value) + 6 for name, value in each.attributes.items())
    return _SERIES_BYTES + len(each.metric) + len(each.unit) + attributes


def _bodies(messages: Sequence[Local], when: When) -> Draft:
    draft = Draft()
    for message in messages[: chunk.MAX_SAMPLES]:
        if draft.sent and draft.size + len(message.data) > chunk.MAX_MESSAGE_BYTES:
            break
        draft.taken += 1
        draft.size += len(message.data)
        draft.sent.append(Message(message.sequence, message.time))
        topic = message.subject.removeprefix(localsubjects.local_data(""))
        draft.items.append((topic, when(message, 0.0)[0], message.data))
    return draft


METRICS = Kind(
    "metric",
    localsubjects.LOCAL_METRICS,
    localsubjects.local_metric(),
    subjects.METRICS,
    256 << 10,
    chunk.MAX_CHUNK_BYTES,
    _samples,
    chunk.encode_metrics,
    chunk.decode_metrics,
    subjects.metric,
)
DATA = Kind(
    "data",
    localsubjects.LOCAL_DATA,
    localsubjects.local_data(),
    subjects.DATA,
    chunk.MAX_MESSAGE_BYTES,
    chunk.MAX_DATA_CHUNK_BYTES,
    _bodies,
    chunk.encode_data,
    lambda payload: chunk.decode_data(payload)[0],
    subjects.data,
)
