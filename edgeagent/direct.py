"""Reading what the hub keeps, with no consumer: Direct Gets, one message at a time or in batches (NATS ADR-31)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import nats.errors

from edgeagent import subjects
from edgeagent.errors import Closed, Failed, Refused, Unreachable
from edgeagent.link import Client
from edgeagent.patience import Patience, asked
from edgeagent.publish import MAX_SEQUENCE, store_full
from edgeagent.times import parse_rfc3339, rfc3339

__all__ = [
    "NOT_STORED",
    "STORE_IS_FULL",
    "Stored",
    "get_last",
    "hub_time",
    "in_our_words",
    "not_stored",
    "read_all",
    "read_first",
    "republished",
]

#: One page: at most so many messages and bytes (2,000 reports of 1.2 KB took 0.09 s).
PAGE = {"batch": 1000, "max_bytes": 8 << 20}
#: The word of the hub's services in the place of a JetStream that met a full disk ("Insufficient Storage", RFC 4918). nats-server has none
#: such, and 503 would mean that nobody is there.
STORE_IS_FULL = "507"
#: How long to wait for the hub's answer where nothing else is said, in seconds.
TIMEOUT_SECONDS = 5.0
#: Streams that everybody may ask about, and so learn the hub's time: of several servers each leads some of them.
_CLOCKS = ("EDGE_REPORTS", subjects.METRICS, "EDGE_EVENTS", f"KV_{subjects.DEVICES_BUCKET}", f"KV_{subjects.CONFIG_BUCKET}")
#: Header of an event of the hub that is shown live because the store does not take it now: when it happened, RFC 3339.
NOT_STORED = "Edge-Not-Stored"


class Stored(NamedTuple):
    """A message as a stream keeps it; ``time`` is the hub's. headers: whoever stored it chose them, but for the hub's own."""

    subject: str
    sequence: int
    time: datetime
    data: bytes
    deleted: bool
    headers: Mapping[str, str] = {}


def _stored(message: Any) -> Stored:
    """Raises Failed for what the hub's JetStream would never answer; whoever answers in its place must not end a task of ours."""
    headers = message.headers or {}
    deleted = headers.get("KV-Operation") in ("DEL", "PURGE") or "Nats-Marker-Reason" in headers
    try:
        moment = parse_rfc3339(headers["Nats-Time-Stamp"])
        sequence = int(headers["Nats-Sequence"])
        if not 0 < sequence < MAX_SEQUENCE:
            raise ValueError("no stream comes so far")
        return Stored(headers["Nats-Subject"], sequence, moment, message.data, deleted, headers)
    except (KeyError, ValueError, OverflowError):
        raise Failed("read what the hub keeps", "the hub's answer makes no sense") from None


def republished(message: Any) -> Stored | None:
    """What the hub has stored and sent on (``edge.live.<id>.…``), None for what makes no sense, or is of another device."""
    try:
        stored = _stored(message)
    except Failed:
        return None
    return stored if subjects.device_of(stored.subject) == subjects.device_of(message.subject) else None


def not_stored(message: Any) -> Stored | None:
    """What the hub itself shows live before it is stored (sequence 0), None for everything else.

    Nobody else can send that: whatever a person or a device has sent to a live view was read from a stream, and nats-server says so in a
    header of its own, or is an answer without headers.
    """
    headers = message.headers or {}
    _, _, device, *what = message.subject.split(".")
    if NOT_STORED not in headers or "Nats-Stream" in headers or device != subjects.HUB or what[:1] != ["event"]:
        return None
    try:
        moment = parse_rfc3339(headers[NOT_STORED])
    except (ValueError, OverflowError):
        return None
    return Stored(subjects.event(device, what[-1]), 0, moment, message.data, False, headers)


def _status(message: Any) -> str | None:
    """The hub's own word (``404``, end of a batch), None for a stored message.

    A device may store a message with a ``Status`` header of its own. The hub adds ``Nats-Time-Stamp`` to what it read from a stream,
    and never to its own word. (Its word that nobody answers, 503, has a ``Nats-Subject`` too: nats-server 2.15.1.)
    """
    headers = message.headers or {}
    return None if "Nats-Time-Stamp" in headers else headers.get("Status")


async def get_last(
    client: Client,
    stream: str,
    subject: str,
    *,
    prefix: str = subjects.API_PREFIX,
    marks: bool = False,
    timeout: float | None = None,
) -> Stored | None:
    """The newest message on ``subject``, None when there is none (or only the mark of a deletion, unless ``marks`` are wanted too).

    timeout: how long to wait for it, in seconds; None: :data:`TIMEOUT_SECONDS`. Raises EdgeError.
    """
    seconds = TIMEOUT_SECONDS if timeout is None else timeout
    message = await asked(client, subjects.direct_get(stream, subject, prefix), what=f"read {subject}", timeout=seconds)
    stored = _there(message, _status(message), subject)
    return None if stored is None or (stored.deleted and not marks) else stored


def _there(message: Any, status: str | None, subject: str) -> Stored | None:
    """The message that the hub answered with, None for its word that there is none."""
    if status == "404":
        return None
    if status == STORE_IS_FULL:
        raise store_full(f"read {subject}")
    if status:
        raise Failed(f"read {subject}", f"the hub answered {status}")
    return _stored(message)


async def read_all(
    client: Client,
    stream: str,
    subject: str,
    *,
    prefix: str = subjects.API_PREFIX,
    first: int = 1,
    since: datetime | None = None,
    marks: bool = False,
) -> AsyncGenerator[Stored, None]:
    """Every message of ``stream`` on ``subject`` (wildcards allowed), in the order of their sequence.

    first: the lowest sequence that is wanted. since: those that were stored from then on, by the hub's clock; then ``first`` does not
    count. The hub finds the beginning by its index, and reads nothing before it. marks: those of deletions too.
    """
    begin: dict[str, Any] = {"seq": first} if since is None else {"start_time": rfc3339(since)}
    pending, patience = 1, Patience(client, TIMEOUT_SECONDS)
    while pending > 0:
        last, asking = None, {**PAGE, **begin, "next_by_subj": subject}
        page = _page(client, subjects.direct_get(stream, prefix=prefix), asking, patience.seconds)
        pending = 0
        try:
            async for item in page:
                if isinstance(item, int):
                    pending = item
                    continue
                last = item
                if marks or not item.deleted:
                    yield item
        except (Unreachable, _NoStream):
            if not await patience.again():
                raise
            pending = 1
        else:
            if last is None:
                return
            patience.good()
        if last is not None:
            begin = {"seq": last.sequence + 1}


class _NoStream(Refused):
    """Nobody answers for the stream."""


async def _page(client: Client, subject: str, body: dict[str, Any], seconds: float) -> AsyncIterator[Stored | int]:
    """The messages of one page, then how many come after it."""
    with in_our_words(f"read {body['next_by_subj']}"):
        async for item in _answers(client, subject, body, seconds):
            yield item


async def _answers(client: Client, subject: str, body: dict[str, Any], seconds: float) -> AsyncIterator[Stored | int]:
    inbox = client.new_inbox()
    # An inbox of its own, given up afterwards: the hub remembers a request of this form for as long as its inbox is listened to.
    subscription = await client.subscribe(inbox, pending_msgs_limit=-1, pending_bytes_limit=-1)
    try:
        await client.publish(subject, json.dumps(body).encode(), reply=inbox)
        while True:
            try:
                message = await subscription.next_msg(timeout=seconds)
            except nats.errors.TimeoutError:
                raise Unreachable(f"read {body['next_by_subj']}", f"the hub did not answer within {seconds:g} s") from None
            status = _status(message)
            if status is None:
                yield _stored(message)
                continue
            if status in ("204", "404"):
                pending = (message.headers or {}).get("Nats-Num-Pending", "")
                yield int(pending) if status == "204" and pending.isdecimal() else 0
                return
            if status == STORE_IS_FULL:
                raise store_full(f"read {body['next_by_subj']}")
            if status == "503":
                raise _NoStream(
                    f"read {body['next_by_subj']}",
                    "the hub has no such stream, or these credentials may not read it",
                    "is `edgeagent hub up` running?",
                )
            raise Failed(
                f"read {body['next_by_subj']}",
                f"the hub answered {status} {(message.headers or {}).get('Description', '')}".strip(),
            )
    finally:
        await subscription.unsubscribe()


@contextlib.contextmanager
def in_our_words(what: str) -> Iterator[None]:
    """nats-py's errors within the block as ours: Closed when the connection has ended for good, else Unreachable or Failed.

    what: as for :class:`EdgeError`.
    """
    try:
        yield
    except Unreachable:  # in our words already; it is an OSError too
        raise
    except (nats.errors.ConnectionClosedError, nats.errors.ConnectionDrainingError):
        raise Closed(what, "the connection is closed") from None
    except (nats.errors.TimeoutError, nats.errors.ConnectionReconnectingError, OSError) as error:
        raise Unreachable(what, _plain(error)) from None
    except nats.errors.Error as error:
        raise Failed(what, _plain(error)) from None


def _plain(error: Exception) -> str:
    return str(error).removeprefix("nats: ") or type(error).__name__


async def hub_time(client: Client, *, prefix: str = subjects.API_PREFIX) -> datetime:
    """The hub's clock, from the answer to STREAM.INFO."""
    first, *others = (f"{prefix}.STREAM.INFO.{stream}" for stream in _CLOCKS)
    answer = await asked(client, first, what="ask the hub for its time", instead=others)
    info = json.loads(answer.data)
    if "error" in info:
        raise Failed(
            "ask the hub for its time", info["error"].get("description", "unknown error"), "is `edgeagent hub up` running?"
        )
    return parse_rfc3339(info["ts"])


async def read_first(
    client: Client, stream: str, subject: str, first: int, *, prefix: str = subjects.API_PREFIX
) -> Stored | None:
    """The first message of ``stream`` on ``subject`` from the sequence ``first`` on; None when there is none.

    It has one answer, so it needs no inbox of its own. Raises EdgeError.
    """
    body = json.dumps({"seq": first, "next_by_subj": subject}).encode()
    message = await asked(
        client, subjects.direct_get(stream, prefix=prefix), body, what=f"read {subject}", timeout=TIMEOUT_SECONDS
    )
    return _there(message, _status(message), subject)
