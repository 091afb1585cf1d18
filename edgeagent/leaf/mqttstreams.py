"""The streams in which nats-server keeps what is MQTT's, each within bounds of its own.

nats-server makes them without any (``mqttCreateAccountSessionManager``, server/mqtt.go, 2.15.1), under the account's limit only. Once that is
reached nobody can come in any more, for no session can be written. One that is there already it leaves as it is, so the agent makes them,
or narrows them.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from edgeagent.errors import Failed
from edgeagent.link import Client, request

__all__ = ["STREAMS", "Use", "bounded"]

_API = "$JS.API.STREAM"
#: JSStreamNotFoundErr of nats-server (server/errors.json).
_NO_STREAM = 10059

#: Name -> part of what MQTT may take, and what nats-server itself asks for. What is full refuses what is new and goes on with what it has
#: (sessions, retained messages), or drops the oldest (messages that wait for a client that is away): refusing would close the
#: connection of whoever publishes.
STREAMS: dict[str, tuple[float, dict[str, Any]]] = {
    "$MQTT_sess": (1 / 8, {"subjects": ["$MQTT.sess.{domain}.>"], "max_msgs_per_subject": 1, "discard": "new"}),
    "$MQTT_rmsgs": (1 / 4, {"subjects": ["$MQTT.rmsgs.>"], "max_msgs_per_subject": 1, "discard": "new"}),
    "$MQTT_msgs": (1 / 2, {"subjects": ["$MQTT.msgs.>"], "retention": "interest", "discard": "old"}),
    "$MQTT_qos2in": (
        1 / 16,
        {"subjects": ["$MQTT.qos2.in.>"], "max_msgs_per_subject": 1, "discard": "new", "discard_new_per_subject": True},
    ),
    "$MQTT_out": (1 / 16, {"subjects": ["$MQTT.out.>"], "retention": "interest", "discard": "old"}),
}


class Use(msgspec.Struct, frozen=True):
    """How much a stream holds and may hold, in bytes."""

    stream: str
    used: int
    limit: int


class _State(msgspec.Struct):
    bytes: int = 0


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = "the leaf does not say why"


class _Answer(msgspec.Struct):
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    state: _State = msgspec.field(default_factory=_State)
    error: _Error | None = None


async def bounded(client: Client, domain: str, store_bytes: int) -> list[Use]:
    """See to it that each stream is there and has its bound; how full they are.

    client: of the account of MQTT. domain: of the leaf's JetStream, which is in the names of sessions. store_bytes: for all of them.
    Raises EdgeError.
    """
    return [await _bounded(client, name, domain, store_bytes) for name in STREAMS]


async def _bounded(client: Client, name: str, domain: str, store_bytes: int) -> Use:
    share, usual = STREAMS[name]
    limit = int(share * store_bytes)
    subjects = [subject.format(domain=domain) for subject in usual["subjects"]]
    own = {**usual, "name": name, "storage": "file", "subjects": subjects, "max_bytes": limit}
    found = await _ask(client, "INFO", name, {})
    if found.error and found.error.err_code == _NO_STREAM:
        found = await _ask(client, "CREATE", name, own)
    changed = {key: own[key] for key in ("max_bytes", "discard")}
    if not found.error and not changed.items() <= found.config.items():
        found = await _ask(client, "UPDATE", name, {**found.config, **changed})
    if found.error:
        raise Failed(f"bound the leaf's stream {name}", found.error.description)
    return Use(name, found.state.bytes, limit)


async def _ask(client: Client, verb: str, name: str, body: dict[str, Any]) -> _Answer:
    data = json.dumps(body).encode() if body else b""
    answer = await request(client, f"{_API}.{verb}.{name}", data, what=f"look after the leaf's stream {name}")
    return msgspec.json.decode(answer.data, type=_Answer)
