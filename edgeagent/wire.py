"""The shapes of what travels, as JSON. One class a message; docs/wire.md says the same without Python.

Every message carries a version ``v``. Unknown fields are ignored and every field but the essential ones has a default, so that
devices and operators of different ages understand each other.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from edgeagent.errors import Failed

__all__ = [
    "Answer",
    "ChunkAsked",
    "ChunkFound",
    "ConfigState",
    "DeviceRecord",
    "Event",
    "Facts",
    "Heartbeat",
    "HubLink",
    "LinkRepairs",
    "Presence",
    "Query",
    "Report",
    "ScopeState",
    "check_depth",
    "decode",
    "encode",
]

VERSION = 1

#: Facts and labels are open: a nested JSON object, as CEL sees it.
Facts = dict[str, Any]

#: Bounds that a device enforces whoever asks.
MAX_EXPRESSION_BYTES = 1024
MAX_SELECTED_FIELDS = 64
MAX_TIMEOUT_MS = 60_000
#: Bound on what anybody reads: a device must not make others run out of stack.
MAX_FACTS_DEPTH = 32


class Query(msgspec.Struct, omit_defaults=True):
    """A question to every device of a scope (subject ``edge.to.<scope>.query``).

    token: names the query in the subject of the answers.
    where: CEL expression over the facts; empty matches every device.
    select: dotted names of the facts wanted; empty asks for none (a ping).
    timeout_ms: how long the asker will listen, in milliseconds.
    matches_only: a device that does not match stays silent.
    """

    token: str
    where: str = ""
    select: list[str] = []
    timeout_ms: int = 3000
    matches_only: bool = False
    v: int = VERSION


class Answer(msgspec.Struct, omit_defaults=True):
    """A device's answer to a :class:`Query`.

    state: ``match``, ``no_match`` or ``refused``.
    facts: the selected facts, nested; a field the device does not have is left out.
    missing: the filter named something this device does not have (so it did not match).
    code, reason: why it refused.
    """

    state: str
    facts: Facts = {}
    missing: bool = False
    code: str = ""
    reason: str = ""
    v: int = VERSION

    def __post_init__(self) -> None:
        check_depth(self.facts, "facts")


class ScopeState(msgspec.Struct, omit_defaults=True):
    """What a device did with the configuration of one scope.

    desired: the generation of the document that the hub has, 0 for none. applied: of the one that the device follows, 0 for none.
    ``desired < applied``: the hub went back, and the device did not. error: why it does not follow the hub's; empty: it does.
    ignored: dotted names in it that this agent does not know.
    """

    desired: int = 0
    applied: int = 0
    error: str = ""
    ignored: list[str] = []


class ConfigState(msgspec.Struct, omit_defaults=True):
    """What a device does with its configuration.

    scopes: by ``<kind>.<name>``; only those that have, or had, a document. values: by dotted name, what counts now and comes from a
    document. settings: the same of its own agent.toml, whether a document goes before it or not. left_out: these two were too large.
    restart: dotted names whose values count from the agent's next start on.
    """

    scopes: dict[str, ScopeState] = {}
    values: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    left_out: bool = False
    restart: list[str] = []


class LinkRepairs(msgspec.Struct, frozen=True):
    """What an agent did about links that looked up and carried nothing, since it started: the leaf dialled anew, made its remote anew
    (``reloaded``), was restarted. last: which of these words was the last, and time: when, RFC 3339."""

    dialled: int = 0
    reloaded: int = 0
    restarted: int = 0
    last: str = ""
    time: str = ""


class HubLink(msgspec.Struct, omit_defaults=True):
    """Which hub a device's leaf is told to link to. url: the entry of its ``hub.urls``. failed: the wanted entries that it gave up, and why."""

    url: str = ""
    failed: dict[str, str] = {}


class Report(msgspec.Struct, omit_defaults=True):
    """What a device says about itself when it changed; the hub keeps the newest one.

    facts: the stable facts (nothing that changes by itself, such as uptime).
    config: what it does with its configuration; None: an agent that knows of none.
    boot: random id of this boot of the machine.
    instance: random id of this run of the agent.
    heartbeat_seconds: how often to expect a heartbeat.
    repairs: of its link; None: there were none. hub: where that leads; None: an agent that does not say so.
    """

    id: str
    facts: Facts
    boot: str = ""
    instance: str = ""
    heartbeat_seconds: float = 60.0
    config: ConfigState | None = None
    repairs: LinkRepairs | None = None
    hub: HubLink | None = None
    v: int = VERSION

    def __post_init__(self) -> None:
        check_depth(self.facts, "facts")


class Heartbeat(msgspec.Struct, omit_defaults=True):
    """Tiny and frequent: alive, and how often to expect it."""

    heartbeat_seconds: float = 60.0
    v: int = VERSION


class Presence(msgspec.Struct, omit_defaults=True):
    """KV ``edge_presence``, key = device id: what the hub's servers saw of the device's connection.

    since: when the connection came or went, RFC 3339, the hub's clock.
    connection: ``<server id>:<client id>`` of the connection that counts.
    reason: the server's word for the end of the connection.
    twins: the server names of other leafs that are connected as the same device at the same time: its card was cloned.
    """

    online: bool
    since: str
    connection: str = ""
    address: str = ""
    reason: str = ""
    twins: list[str] = []
    v: int = VERSION


class DeviceRecord(msgspec.Struct, omit_defaults=True):
    """KV ``edge_devices``, key = device id: what the hub decided about a device.

    groups: in the order in which their config applies. labels: those that the hub gives the device; its own settings go before them.
    key: the device's public user nkey. issued_at, expires_at: of its newest JWT, Unix seconds (0 = none).
    older: public user nkey -> when the last of the JWTs that it was given before the newest one ends, Unix seconds (0 = never). They
    may be of its present key or of one that it had before; a revocation must hit, and outlive, all of them.
    refused_until: JWTs that were issued up to then, Unix seconds, are no longer accepted: its groups were changed.
    revoked, reason: it is kept out, and why. added: when, RFC 3339.
    as_of: since then, Unix seconds, another board may have taken its place, of which the hub knows nothing: it is that of a backup; 0: none may.
    serial: of the board, as it said itself when it enrolled; empty if it has none.
    """

    id: str
    groups: list[str] = []
    labels: dict[str, str] = {}
    key: str = ""
    issued_at: int = 0
    expires_at: int = 0
    older: dict[str, int] = {}
    refused_until: int = 0
    revoked: bool = False
    reason: str = ""
    added: str = ""
    as_of: int = 0
    serial: str = ""
    v: int = VERSION


class Event(msgspec.Struct, omit_defaults=True):
    """Something a person should see (subject ``edge.from.<id>.event.<severity>``; the hub's own come from the id ``hub``).

    kind: a stable dotted word, e.g. ``device.revoked``. text: one sentence. data: the same for programs.
    id: random; one that comes twice was sent again because its acknowledgement was lost.
    time: when it happened by the sender's clock, RFC 3339; empty: when the hub stored it.
    """

    kind: str
    text: str
    data: dict[str, Any] = {}
    id: str = ""
    time: str = ""
    v: int = VERSION


T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="deterministic")


def encode(message: msgspec.Struct) -> bytes:
    """The message as compact JSON. Text that has no UTF-8 (names of files may be such) loses just those characters."""
    try:
        return _encoder.encode(message)
    except UnicodeEncodeError:
        return _encoder.encode(_with_utf8(msgspec.to_builtins(message)))


def _with_utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_with_utf8(key): _with_utf8(item) for key, item in value.items()}
    return [_with_utf8(item) for item in value] if isinstance(value, list) else value


def decode(data: bytes, shape: type[T]) -> T:
    """Read ``data`` as ``shape``; raise :class:`Failed` if it is none, saying where."""
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        name = shape.__name__.lower()
        raise Failed(f"read {'an' if name[0] in 'aeiou' else 'a'} {name}", str(error)) from None


def check_depth(table: dict[str, Any], what: str, depth: int = MAX_FACTS_DEPTH) -> None:
    """Raise ValueError when ``what`` is nested deeper than ``depth``: others must not run out of stack."""
    level: list[Any] = [table]
    for _ in range(depth):
        level = [
            item
            for outer in level
            for item in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return
    raise ValueError(f"{what} are nested deeper than {depth} levels")


class ChunkAsked(msgspec.Struct, omit_defaults=True):
    """Which chunk of one's own the hub has at this sequence of its stream, or next after it (``….request.metric_index``, ``data_index``)."""

    at: int
    v: int = VERSION


class ChunkFound(msgspec.Struct, omit_defaults=True):
    """The chunk without what is in it. sequence: the hub's; 0: there is none that can be read, or not yet. log to dropped: as in its progress.

    sequences, times: of the local messages in it, as the chunk has them. unreadable: of those that were passed over, the last one's
    sequence; 0: there were none.
    """

    sequence: int = 0
    log: int = 0
    epoch: int = 0
    edge: tuple[int, int] | None = None
    filled: tuple[int, int] | None = None
    base: tuple[int, int, int] | None = None
    gaps: list[tuple[int, int]] = []
    next: int = 1
    forwarded: int = 0
    dropped: dict[str, int] = {}
    sequences: list[int] = []
    times: list[int] = []
    unreadable: int = 0
    v: int = VERSION
