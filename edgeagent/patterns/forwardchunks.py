"""From messages of the local stream to a chunk: as many as fit into it, and what can never be sent counted by cause. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from edgeagent import chunk, localsubjects, sample, subjects
from edgeagent.chunk import Message, Point, Progress
from edgeagent.errors import Failed, UsageProblem

__all__ = ["DATA", "METRICS", "TOO_LARGE", "Draft", "Kind", "Local", "When", "as_stored"]

#: Why messages are dropped: no samples are in them; they cannot be made into a chunk that the hub takes.
MALFORMED, TOO_LARGE = "malformed", "too_large"
#: What the text of a chunk may have before it is packed, roughly, in bytes: far from what readers unpack at most.
_TEXT_BYTES = chunk.MAX_UNPACKED_BYTES // 2
#: What a sample adds to that text besides its series and its value: indexes, times, a share of its message's.
_SERIES_BYTES = 80
#: Why messages are too large, for those who publish them.
_TOO_LARGE = "what it says is more than goes into one chunk"
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
    """What is in a chunk to be. taken: how many of the messages were looked at. complaints: the cause, a message's subject, and why."""

    taken: int = 0
    sent: list[Message] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    complaints: list[tuple[str, str, str]] = field(default_factory=list)
    size: int = 0

    def drop(self, cause: str, subject: str = "", why: str = "") -> None:
        self.dropped[cause] = self.dropped.get(cause, 0) + 1
        self.complaints += [(cause, subject, why)] if why else []


class Kind(NamedTuple):
    """One of the two streams that are forwarded. page_bytes: what is read of it at once. limit: of a chunk, in bytes.

    draft: of the first messages of some, as many as fit. encode, decode: the chunk; the latter raises Failed for what no reader takes.
    say: its subject, of a device.
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
            payload, cause = self._encoded(draft, progress)
            if payload:
                return draft, payload
            if draft.taken == 1:
                return self.given_up(messages[0], cause), b""
            messages = messages[: draft.taken // 2]

    def given_up(self, message: Local, cause: str) -> Draft:
        """No chunk of ``message`` alone is taken."""
        draft = Draft(taken=1)
        draft.drop(cause, message.subject, _TOO_LARGE if cause == TOO_LARGE else "no reader would understand it")
        return draft

    def _encoded(self, draft: Draft, progress: Callable[[Draft], Progress]) -> tuple[bytes, str]:
        """The chunk; or nothing, and why. Read before it is sent: one that nobody can read would take all with it that is in it."""
        try:
            payload = self.encode(_without_own(progress(draft), draft), draft.sent, draft.items)
            if len(payload) > self.limit:
                return b"", TOO_LARGE
            self.decode(payload)
        except (ValueError, OverflowError, Failed):  # a text or number that no JSON can say, or no reader takes
            return b"", MALFORMED
        return payload, ""


def _without_own(progress: Progress, draft: Draft) -> Progress:
    """Without the edges that are the chunk's own last message: they are in it anyway."""
    own = tuple(draft.sent[-1])
    return replace(
        progress,
        edge=None if progress.edge == own else progress.edge,
        filled=None if progress.filled == own else progress.filled,
    )


def _samples(messages: Sequence[Local], when: When) -> Draft:
    draft = Draft()
    for message in messages:
        try:
            found = sample.parse(message.subject, message.data)
            source = sample.source_of(message.subject)
            points = [Point(source, each, *_moment(when(message, each.time))) for each in found]
            size = sum(map(_text_bytes, found)) + len(found) * _source_bytes(source)
        except Exception as error:  # whatever it is: the message stays in the store, and would end every start
            draft.taken += 1
            draft.drop(MALFORMED, message.subject, error.why if isinstance(error, UsageProblem) else repr(error))
            continue
        if size > _TEXT_BYTES:
            draft.taken += 1
            draft.drop(TOO_LARGE, message.subject, _TOO_LARGE)
            continue
        if draft.sent and (len(draft.items) + len(found) > chunk.MAX_SAMPLES or draft.size + size > _TEXT_BYTES):
            break
        draft.taken += 1
        draft.size += size
        draft.sent.append(Message(message.sequence, message.time))
        draft.items += points
    return draft


def _moment(found: tuple[int, bool]) -> tuple[int, bool]:
    """As near to it as readers take."""
    time_ms, is_guess = found
    return min(max(0, time_ms), chunk.END_OF_TIME - 1), is_guess


def _text_bytes(each: sample.Sample) -> int:
    """At most, with a series of its own, but for its source's. Raises ValueError for what no JSON can say."""
    return _SERIES_BYTES + len(msgspec.json.encode(each))


@lru_cache(maxsize=64)
def _source_bytes(source: str) -> int:
    return len(msgspec.json.encode(source))


def _bodies(messages: Sequence[Local], when: When) -> Draft:
    draft = Draft()
    for message in messages[: chunk.MAX_SAMPLES]:
        if draft.sent and draft.size + len(message.data) > chunk.MAX_MESSAGE_BYTES:
            break
        draft.taken += 1
        draft.size += len(message.data)
        draft.sent.append(Message(message.sequence, message.time))
        topic = message.subject.removeprefix(localsubjects.local_data(""))
        draft.items.append((topic, _moment(when(message, 0.0))[0], message.data))
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
