"""The leaf's own streams: what local programs and the agent's collectors publish is on disk before it is acknowledged.

They have no maximal age: a clock that is set right after days would make all of it expire at once. When they are full the oldest goes,
sent or not. What was sent stays until then, because a hub that was put back to an older copy asks for it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from edgeagent import localsubjects
from edgeagent.chunk import MAX_MESSAGE_BYTES
from edgeagent.errors import EdgeError, Failed
from edgeagent.link import Client, request
from edgeagent.sample import MAX_PAYLOAD_BYTES

__all__ = ["STREAMS", "LocalStream", "ensure"]

_API = "$JS.API.STREAM"
#: How long the leaf may take for an answer, in seconds.
_TIMEOUT_SECONDS = 5.0
#: The smallest window that nats-server accepts, in nanoseconds: nothing here is known by ``Nats-Msg-Id``.
_DUPLICATE_WINDOW_NANOSECONDS = 100_000_000
#: JSStreamNotFoundErr of nats-server (server/errors.json).
_NO_STREAM = 10059


@dataclass(frozen=True, kw_only=True)
class LocalStream:
    """share: part of the leaf's store that it may fill. max_message_bytes: larger messages are refused."""

    name: str
    subject: str
    share: float
    max_message_bytes: int

    def configuration(self, store_bytes: int) -> dict[str, Any]:
        """What JetStream is asked for, with a store of ``store_bytes``. The server's defaults are the rest."""
        return {
            "name": self.name,
            "subjects": [self.subject],
            "storage": "file",
            "max_bytes": int(self.share * store_bytes),
            "max_msg_size": self.max_message_bytes,
            "discard": "old",
            "duplicate_window": _DUPLICATE_WINDOW_NANOSECONDS,
            "allow_direct": True,
        }


STREAMS = (
    LocalStream(
        name=localsubjects.LOCAL_METRICS, subject=localsubjects.local_metric(), share=0.55, max_message_bytes=MAX_PAYLOAD_BYTES
    ),
    LocalStream(
        name=localsubjects.LOCAL_DATA, subject=localsubjects.local_data(), share=0.35, max_message_bytes=MAX_MESSAGE_BYTES
    ),
)

#: What a change of the settings changes.
_CHANGEABLE = ("max_bytes", "max_msg_size", "subjects")


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = "the leaf does not say why"


class _Answer(msgspec.Struct):
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    error: _Error | None = None


async def ensure(client: Client, store_bytes: int) -> None:
    """Make the streams, or change them to the limits of now. Raises Failed."""
    for stream in STREAMS:
        try:
            await _apply(client, stream.configuration(store_bytes))
        except EdgeError as error:
            raise Failed(f"set up the local stream {stream.name}", error.why, "see leaf.log in the state folder") from None


async def _apply(client: Client, wanted: dict[str, Any]) -> None:
    info = await _ask(client, "INFO", wanted["name"])
    if info.error is not None and info.error.err_code == _NO_STREAM:
        info = await _ask(client, "CREATE", wanted["name"], wanted)
    elif info.error is None and any(info.config.get(key) != wanted[key] for key in _CHANGEABLE):
        info = await _ask(client, "UPDATE", wanted["name"], wanted)
    if info.error is not None:
        raise Failed("set it up", info.error.description)


async def _ask(client: Client, what: str, name: str, body: dict[str, Any] | None = None) -> _Answer:
    """By a request of our own: nats-py's ``nats.js`` would cost the agent 2 MiB for these alone."""
    data = b"" if body is None else msgspec.json.encode(body)
    answer = await request(client, f"{_API}.{what}.{name}", data, what="ask the leaf", timeout=_TIMEOUT_SECONDS)
    try:
        return msgspec.json.decode(answer.data, type=_Answer)
    except (ValueError, UnicodeDecodeError):
        raise Failed("ask the leaf", "its answer makes no sense") from None
