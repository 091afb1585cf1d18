"""Every stream and bucket of the hub, declared in one table, and the one function that makes the server agree with it.

All of them live in the account HUB. Each has a byte limit, as a share of the hub's store, because a full disk stops *every*
stream until nats-server is restarted. None takes part in de-duplication by ``Nats-Msg-Id`` in earnest: ids are stream-wide, so
whoever uses one first would suppress the true message; uploads are fenced by the sequence of the last message instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nats.errors
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import APIError, NotFoundError

from edgeagent import subjects
from edgeagent.chunk import HEADERS_BYTES, MAX_CHUNK_BYTES, MAX_DATA_CHUNK_BYTES
from edgeagent.errors import Failed, UsageProblem
from edgeagent.hub.stream import Stream
from edgeagent.subjects import CONFIG_BUCKET, DEVICES_BUCKET, TRUST_BUCKET
from edgeagent.transfer import MAX_PIECE_BYTES

__all__ = [
    "CONFIG_BUCKET",
    "DEVICES_BUCKET",
    "MIN_STORE_BYTES",
    "PEOPLE_BUCKET",
    "PEOPLE_READ",
    "PRESENCE_BUCKET",
    "REVOCATIONS_BUCKET",
    "SEVERITIES",
    "STREAMS",
    "TOKENS_BUCKET",
    "UPWARD",
    "Stream",
    "ensure",
]

PRESENCE_BUCKET = "edge_presence"
PEOPLE_BUCKET = "edge_people"
TOKENS_BUCKET = "edge_tokens"
REVOCATIONS_BUCKET = "edge_revocations"

#: Below this the shares are too small to keep a useful history.
MIN_STORE_BYTES = 256 << 20
#: How long pieces of files are kept, in seconds: longer than a command is good that may name them, and runs.
_FILES_SECONDS = 8 * 86_400.0
#: Parts of a stream with a quota, of which one device may fill one, with all its subjects there: few where messages are large, or must
#: last long.
_LARGE_PARTS = 4

#: How bad an event is, as the last token of its subject. A closed list: a quota counts per subject, so whoever could invent
#: subjects could fill the stream with one quota after the other.
SEVERITIES = ("debug", "info", "warning", "error", "critical")
#: What a device may store, as the tokens after ``edge.from.<id>.``.
UPWARD = ("report", "heartbeat", "result.*", "metric", *[f"event.{severity}" for severity in SEVERITIES], "data", "file")


def _upward(what: str) -> str:
    return f"edge.from.*.{what}"


def _live(what: str) -> str:
    return subjects.live("{{wildcard(1)}}", what)


def _bucket(name: str, **more: Any) -> Stream:
    """A KV bucket. It refuses what it has no room for: no record gives way to the newest of another thing."""
    return Stream(name=f"KV_{name}", subjects=(f"$KV.{name}.>",), refuse_when_full=True, **more)


#: In the order in which they are made. EDGE_AUDIT must be there before the first command or config is written, so that the audit
#: does not depend on the honesty of a client.
STREAMS = (
    Stream(
        name="EDGE_REPORTS",
        share=0.06,
        subjects=(subjects.report(), subjects.heartbeat()),
        max_message_bytes=64 << 10,
        republish=(_upward("*"), _live("{{wildcard(2)}}")),
    ),
    Stream(
        name="EDGE_COMMANDS",
        share=0.04,
        subjects=("edge.to.*.*.cmd.*",),
        max_message_bytes=256 << 10,
        refuse_when_full=True,  # the head of a log must never be evicted
        write_once=True,
        republish=("edge.to.*.*.cmd.*", "edge.to.{{wildcard(1)}}.{{wildcard(2)}}.command"),
        doorbell=True,
    ),
    Stream(
        name="EDGE_RESULTS",
        share=0.06,
        subjects=(_upward("result.*"),),
        max_message_bytes=256 << 10,
        refuse_when_full=True,  # an outcome that was acknowledged must not vanish
        republish=(_upward("result.*"), _live("result.{{wildcard(2)}}")),
    ),
    Stream(
        name=subjects.METRICS,
        share=0.135,
        subjects=(subjects.metric(),),
        max_message_bytes=MAX_CHUNK_BYTES + HEADERS_BYTES,
        usual_message_bytes=1 << 10,  # a minute of a usual device's samples; hub.retention shares the bytes
        history=None,
        quota_parts=_LARGE_PARTS,
        compressed=True,
        republish=(_upward("metric"), _live("metric")),
    ),
    Stream(
        name="EDGE_EVENTS",
        share=0.05,
        subjects=tuple(_upward(f"event.{severity}") for severity in SEVERITIES),
        max_message_bytes=16 << 10,
        history=None,
        republish=(_upward("event.*"), _live("event.{{wildcard(2)}}")),
    ),
    Stream(
        name=subjects.DATA,
        share=0.12,
        subjects=(subjects.data(),),
        max_message_bytes=MAX_DATA_CHUNK_BYTES + HEADERS_BYTES,
        usual_message_bytes=4 << 10,
        history=None,
        quota_parts=_LARGE_PARTS,
        compressed=True,
        republish=(_upward("data"), _live("data")),
    ),
    _bucket(
        CONFIG_BUCKET,
        share=0.04,
        max_message_bytes=64 << 10,
        history=64,
        republish=(f"$KV.{CONFIG_BUCKET}.*.*", "edge.to.{{wildcard(1)}}.{{wildcard(2)}}.config"),
        doorbell=True,
    ),
    _bucket(
        PRESENCE_BUCKET,
        share=0.01,
        max_message_bytes=4 << 10,
        republish=(f"$KV.{PRESENCE_BUCKET}.*", _live("presence")),
    ),
    _bucket(
        DEVICES_BUCKET,
        share=0.01,
        max_message_bytes=16 << 10,
        history=8,
        republish=(f"$KV.{DEVICES_BUCKET}.*", subjects.record_doorbell("{{wildcard(1)}}")),
        doorbell=True,
    ),
    _bucket(
        TRUST_BUCKET,
        share=0.005,
        max_message_bytes=256 << 10,
        history=8,
        republish=(f"$KV.{TRUST_BUCKET}.*", "edge.to.trust.{{wildcard(1)}}.config"),
        doorbell=True,
    ),
    _bucket(PEOPLE_BUCKET, share=0.003, max_message_bytes=16 << 10, history=8),
    _bucket(TOKENS_BUCKET, share=0.012, max_message_bytes=256 << 10),
    _bucket(REVOCATIONS_BUCKET, share=0.005, max_message_bytes=4 << 10),
    Stream(
        name=subjects.FILES,
        share=0.10,
        subjects=(subjects.file_piece("*", "*"),),
        max_message_bytes=MAX_PIECE_BYTES,
        refuse_when_full=True,  # a file that a command names must not lose its beginning
        write_once=True,
        max_age_seconds=_FILES_SECONDS,
    ),
    Stream(
        name=subjects.UPLOADS,
        share=0.05,
        subjects=(subjects.file_upload(),),
        max_message_bytes=MAX_PIECE_BYTES,
        history=None,
        quota_parts=_LARGE_PARTS,
        max_age_seconds=_FILES_SECONDS,
    ),
    Stream(
        name="EDGE_AUDIT",
        share=0.10,  # more than all that it copies together: whoever fills those once pushes nothing out
        history=-1,
        never_purge=True,
        sources=(f"KV_{CONFIG_BUCKET}", f"KV_{TRUST_BUCKET}", "EDGE_COMMANDS"),
    ),
)

#: What people in the account OPS may read.
_NOT_FOR_PEOPLE = ("EDGE_AUDIT", f"KV_{TOKENS_BUCKET}", f"KV_{REVOCATIONS_BUCKET}")
PEOPLE_READ = tuple(stream.name for stream in STREAMS if stream.name not in _NOT_FOR_PEOPLE)


async def ensure(js: JetStreamContext, store_bytes: int, *, replicas: int = 1) -> list[str]:
    """Make or change what differs from the table; return the names of those that did, in order. Doing it again changes nothing.

    js: of a user of the account HUB. store_bytes: the server's ``max_file_store``.
    replicas: copies of every stream; 1, or 3 on a cluster of at least three servers.
    Raises UsageProblem for a store below MIN_STORE_BYTES, Failed when JetStream refuses.
    """
    if store_bytes < MIN_STORE_BYTES:
        raise UsageProblem(
            "set up the hub's streams", f"{store_bytes} bytes are too few", f"give it at least {MIN_STORE_BYTES >> 20} MiB"
        )
    changed = []
    for stream in STREAMS:
        wanted = stream.configuration(store_bytes, replicas)
        try:
            if await _apply(js, wanted):
                changed.append(stream.name)
        except (APIError, nats.errors.Error) as error:
            raise Failed(
                f"set up the stream {stream.name}", str(error), "see the hub's log; its store may be too small"
            ) from None
    return changed


async def _apply(js: JetStreamContext, wanted: StreamConfig) -> bool:
    try:
        info = await js.stream_info(str(wanted.name))
    except NotFoundError:
        await js.add_stream(wanted)
        return True
    if _agrees(info.config.as_dict(), wanted.as_dict()):
        return False
    if [one.name for one in info.config.sources or []] == [one.name for one in wanted.sources or []]:
        wanted.sources = info.config.sources  # where a restored one goes on (hub.snapshots)
    await js.update_stream(wanted)
    return True


def _agrees(found: Any, wanted: Any) -> bool:
    """Whether all that is wanted is so; the server adds fields of its own and leaves out what is false or empty."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(_agrees(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_agrees, found, wanted))
    return bool(found == wanted or (not found and not wanted))
