"""Reading a stream of the leaf in order, with no consumer: Direct Gets in batches (NATS ADR-31)."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from edgeagent.chunk import Message
from edgeagent.direct import in_our_words
from edgeagent.errors import Failed, Unreachable
from edgeagent.link import Client, heard_first, request
from edgeagent.localsubjects import local_inbox
from edgeagent.patterns.forwardchunks import Local

__all__ = ["LocalLog", "Page", "State", "nanoseconds"]

_API = "$JS.API"
#: The headers of a message that had none (server/stream.go, getDirectRequest): its own would stand before these.
_PLAIN = re.compile(
    rb"NATS/1\.0\r\nNats-Stream: [^\r\n]+\r\nNats-Subject: ([^\r\n]+)\r\nNats-Sequence: ([0-9]+)\r\nNats-Time-Stamp: ([0-9TZ:.-]+)\r\n"
    rb"(?:Nats-(?:Num-Pending|Last-Sequence): [0-9]+\r\n)*\r\n\Z"
)
#: How long the leaf may take for an answer, in seconds.
TIMEOUT_SECONDS = 10.0


class State(NamedTuple):
    """created: Unix nanoseconds. first, last: sequences; an empty stream's first is after its last. bytes: of all messages."""

    created: int
    first: int
    last: int
    messages: int
    bytes: int


class Page(NamedTuple):
    """messages: in order. upto: nothing else is there up to this sequence; None: nor after it."""

    messages: list[Local]
    upto: int | None


class _Messages(msgspec.Struct):
    first_seq: int = 0
    last_seq: int = 0
    messages: int = 0
    bytes: int = 0


class _Info(msgspec.Struct):
    created: str = ""
    state: _Messages = msgspec.field(default_factory=_Messages)
    error: dict[str, Any] | None = None


@lru_cache(maxsize=64)
def _second(text: str) -> int:
    return int(datetime.fromisoformat(text + "+00:00").timestamp())


def nanoseconds(text: str) -> int:
    """What nats-server says of a moment, in UTC, as Unix nanoseconds. Raises ValueError."""
    fraction = text[20:].rstrip("Z")
    if not text.endswith("Z") or len(fraction) > 9 or not (fraction or "0").isdecimal():
        raise ValueError(f"{text!r} is no time of nats-server's")
    return _second(text[:19]) * 1_000_000_000 + int(fraction.ljust(9, "0"))


class LocalLog:
    """One stream of the leaf. Every method raises EdgeError."""

    def __init__(self, client: Client, stream: str) -> None:
        self._client, self._stream = client, stream
        self._what = f"read the local stream {stream}"

    async def state(self) -> State:
        """As it is now."""
        answer = await request(self._client, f"{_API}.STREAM.INFO.{self._stream}", what=self._what, timeout=TIMEOUT_SECONDS)
        try:
            info = msgspec.json.decode(answer.data, type=_Info)
            if info.error is None:
                found = info.state
                return State(nanoseconds(info.created), found.first_seq, found.last_seq, found.messages, found.bytes)
        except (ValueError, UnicodeDecodeError):
            raise Failed(self._what, "the leaf's answer makes no sense") from None
        raise Failed(self._what, str(info.error.get("description", "the leaf does not say why")))

    async def read(self, first: int, *, count: int, max_bytes: int) -> Page:
        """At most ``count`` messages from the sequence ``first`` on, and about ``max_bytes`` of them."""
        # ">" and no narrower subject, though all messages have one: for others nats-server (2.15.1) looks at each twice as long.
        body = {"seq": first, "batch": count, "max_bytes": max_bytes, "next_by_subj": ">"}
        reader = _Reader()
        with in_our_words(self._what):
            inbox = local_inbox(secrets.token_hex(11))
            subscription = await self._client.subscribe(inbox, cb=reader.heard, pending_msgs_limit=-1, pending_bytes_limit=-1)
            try:
                with heard_first(self._client, subscription, reader.heard_plain):
                    await self._client.publish(f"{_API}.DIRECT.GET.{self._stream}", json.dumps(body).encode(), reply=inbox)
                    await asyncio.wait({reader.ended}, timeout=TIMEOUT_SECONDS)
            finally:
                await subscription.unsubscribe()
        return reader.page(self._what)

    async def at(self, sequence: int) -> Message | None:
        """The message at ``sequence``; None when it is not there."""
        found = (await self.read(sequence, count=1, max_bytes=1)).messages
        return Message(found[0].sequence, found[0].time) if found and found[0].sequence == sequence else None


class _Reader:
    def __init__(self) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._messages: list[Local] = []
        self._upto: int | None = None

    def heard_plain(self, headers: bytes, data: bytes) -> bool:
        """A message that was stored without headers, as nearly all are."""
        found = _PLAIN.match(headers)
        if found is None:
            return False
        subject, sequence, moment = found.groups()
        try:
            self._messages.append(Local(int(sequence), nanoseconds(moment.decode()), subject.decode(), data))
        except ValueError:
            return False
        return True

    async def heard(self, message: Any) -> None:
        headers = message.headers or {}
        # Whoever stored a message may have given it any header but for this one.
        if "Nats-Time-Stamp" not in headers:
            self._end(headers)
            return
        try:
            sequence, moment = int(headers["Nats-Sequence"]), nanoseconds(headers["Nats-Time-Stamp"])
            self._messages.append(Local(sequence, moment, headers["Nats-Subject"], message.data))
        except (KeyError, ValueError):
            self._end({"Status": "answer that makes no sense"})

    def _end(self, headers: dict[str, str]) -> None:
        status = headers.get("Status", "")
        if status == "204" and headers.get("Nats-Last-Sequence", "").isdecimal():
            self._upto = int(headers["Nats-Last-Sequence"])
        if not self.ended.done():
            self.ended.set_result("" if status in ("204", "404") else status or "nothing that we know")

    def page(self, what: str) -> Page:
        if not self.ended.done():
            raise Unreachable(what, f"the leaf did not answer within {TIMEOUT_SECONDS:g} s")
        status = self.ended.result()
        if status:
            raise Failed(what, f"the leaf answered {status}")
        return Page(sorted(self._messages), self._upto)  # those with headers of their own were heard later
