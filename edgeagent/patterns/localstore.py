"""The leaf's own streams: what local programs and the agent's collectors publish is on disk before it is acknowledged.

They have no maximal age: a clock that is set right after days would make all of it expire at once. When they are full the oldest goes,
sent or not. What was sent stays until then, because a hub that was put back to an older copy asks for it again.
"""

from __future__ import annotations

from dataclasses import dataclass

import nats.errors
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from edgeagent import localsubjects
from edgeagent.chunk import MAX_MESSAGE_BYTES
from edgeagent.errors import Failed
from edgeagent.sample import MAX_PAYLOAD_BYTES

__all__ = ["STREAMS", "LocalStream", "ensure"]

#: The smallest window that nats-server accepts, in seconds: nothing here is known by ``Nats-Msg-Id``.
_DUPLICATE_WINDOW_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class LocalStream:
    """share: part of the leaf's store that it may fill. max_message_bytes: larger messages are refused."""

    name: str
    subject: str
    share: float
    max_message_bytes: int

    def configuration(self, store_bytes: int) -> api.StreamConfig:
        """What JetStream is asked for, with a store of ``store_bytes``."""
        return api.StreamConfig(
            name=self.name,
            subjects=[self.subject],
            storage=api.StorageType.FILE,
            max_bytes=int(self.share * store_bytes),
            max_msg_size=self.max_message_bytes,
            discard=api.DiscardPolicy.OLD,
            duplicate_window=_DUPLICATE_WINDOW_SECONDS,
            allow_direct=True,
        )


STREAMS = (
    LocalStream(
        name=localsubjects.LOCAL_METRICS, subject=localsubjects.local_metric(), share=0.55, max_message_bytes=MAX_PAYLOAD_BYTES
    ),
    LocalStream(
        name=localsubjects.LOCAL_DATA, subject=localsubjects.local_data(), share=0.35, max_message_bytes=MAX_MESSAGE_BYTES
    ),
)


async def ensure(js: JetStreamContext, store_bytes: int) -> None:
    """Make the streams, or change them to the limits of now. Raises Failed."""
    for stream in STREAMS:
        try:
            await _apply(js, stream.configuration(store_bytes))
        except (APIError, nats.errors.Error) as error:
            raise Failed(f"set up the local stream {stream.name}", str(error), "see leaf.log in the state folder") from None


async def _apply(js: JetStreamContext, wanted: api.StreamConfig) -> None:
    try:
        found = (await js.stream_info(str(wanted.name))).config
    except NotFoundError:
        await js.add_stream(wanted)
        return
    if (found.max_bytes, found.max_msg_size, found.subjects) != (wanted.max_bytes, wanted.max_msg_size, wanted.subjects):
        await js.update_stream(wanted)
