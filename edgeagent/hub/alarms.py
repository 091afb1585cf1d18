"""What nats-server says of trouble, and what we make of it: one table. Pure.

nats-server tells what goes wrong with JetStream as advisories of the account that it happens in, or of the system account where it
happens to a server (server/jetstream_events.go, server/events.go of 2.15), and forgets it if nobody listens. What is not in the table is noise:
``$JS.EVENT.ADVISORY.API`` is one message for each request to JetStream, ``CONSUMER.CREATED|DELETED`` are of every reader, and
``STREAM.CREATED|UPDATED`` are our own doing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from edgeagent.errors import EdgeError
from edgeagent.trust import jwt

__all__ = ["ALARMS", "Alarm", "kinds", "read"]

#: Characters of what somebody else chose.
MAX_NAME = 80

Message = dict[str, Any]


class Alarm(NamedTuple):
    """One thing that a server says.

    account: in which it says it. subject: where. kind: of the event that is made of it. severity: of that event. text: with ``{count}``,
    and ``{who}``, the one that it happened to most. remedy: what to do. who: of a message and the last word of its subject; empty: it
    does not count. few: the severity of less than ``many`` a minute. least: times that it must happen to one within a minute to be told
    at all. only: what a message has in it that counts: for subjects that say other things too.
    """

    account: Literal["HUB", "SYS"]
    subject: str
    kind: str
    severity: str
    text: str
    remedy: str
    who: Callable[[Message, str], str]
    few: str = ""
    many: int = 1
    least: int = 1
    only: bytes = b""


def _last_word(message: Message, word: str) -> str:
    return plain(word)


def _consumer(message: Message, word: str) -> str:
    return plain(f"{message.get('consumer')} of {message.get('stream')}")


def _server(message: Message, word: str) -> str:
    """Its name stands in one place or the other."""
    server = message.get("server")
    return plain(server.get("name") if isinstance(server, dict) else server or message.get("leader"))


def _stopped(message: Message, word: str) -> str:
    """A server that ends tells no name but in its subject, where it is a key."""
    found = _server(message, word)
    return "a server of the hub" if found == "?" else found


def _stranger(message: Message, word: str) -> str:
    """Where a login came from that was refused. What it calls itself is not proved."""
    client = message.get("client") or {}
    name = _name(client)
    where = f"{plain(client.get('host'))}" + (f", as {name}" if name else "")
    return f"{where}: {plain(message.get('reason'))}"


def _slow(message: Message, word: str) -> str:
    """The server lets go of a connection that does not read."""
    if not str(message.get("reason", "")).startswith("Slow Consumer"):
        return ""
    client = message.get("client") or {}
    return _name(client) or plain(client.get("name") or client.get("host"))


def _name(client: Message) -> str:
    try:
        return plain(jwt.claims(str(client.get("jwt", ""))).get("name", ""))
    except EdgeError:
        return ""


def plain(text: object) -> str:
    """Printable ASCII, and not long; ``?`` for nothing."""
    return re.sub(r"[^\x20-\x7e]", "?", str(text or "?")[:MAX_NAME])


_JS = "$JS.EVENT.ADVISORY"
_OTHERS = "see that every server of the cluster runs and reaches the others: `edgeagent hub doctor` on each"
_UNREST = "servers that come and go, a slow disk or a network that loses much: see each server's log"

ALARMS: tuple[Alarm, ...] = (
    Alarm(
        "SYS",
        "$SYS.SERVER.*.CLIENT.AUTH.ERR",
        "hub.auth_errors",
        "warning",
        "{count} logins were refused, most of them from {who}",
        "a device whose credentials ended or were revoked, or somebody who tries: where it is a stranger, close the port to that address",
        _stranger,
        few="info",
        many=10,
    ),
    Alarm(
        "SYS",
        "$SYS.ACCOUNT.*.DISCONNECT",
        "hub.slow_consumer",
        "warning",
        "{count} connections were ended because they read too slowly, most often {who}",
        "a link that is too thin or a program that hangs; what devices store meanwhile is kept by themselves",
        _slow,
        only=b"Slow Consumer",
    ),
    Alarm(
        "HUB",
        f"{_JS}.STREAM.QUORUM_LOST.*",
        "hub.jetstream.quorum_lost",
        "error",
        "{who} cannot be written: too few servers of the cluster have it ({count} such words)",
        _OTHERS,
        _last_word,
    ),
    Alarm(
        "HUB",
        f"{_JS}.CONSUMER.QUORUM_LOST.*.*",
        "hub.jetstream.consumer_quorum_lost",
        "error",
        "{who} stands still: too few servers of the cluster have it ({count} such words)",
        _OTHERS,
        _consumer,
    ),
    Alarm(
        "HUB",
        f"{_JS}.STREAM.LEADER_ELECTED.*",
        "hub.jetstream.unrest",
        "warning",
        "{who} gets another leader again and again ({count} elections of streams)",
        _UNREST,
        _last_word,
        least=5,
    ),
    Alarm(
        "SYS",
        f"{_JS}.DOMAIN.LEADER_ELECTED",
        "hub.jetstream.unrest_of_servers",
        "warning",
        "the servers elect a leader again and again, {count} times, most often {who}",
        _UNREST,
        _server,
        least=5,
    ),
    Alarm(
        "SYS",
        f"{_JS}.SERVER.OUT_OF_STORAGE",
        "hub.jetstream.out_of_storage",
        "critical",
        "JetStream has no more room on {who} and is switched off there",
        "free space on its disk, and start it again",
        _server,
    ),
    Alarm(
        "SYS",
        f"{_JS}.SERVER.REMOVED",
        "hub.jetstream.server_removed",
        "warning",
        "{who} was removed from the cluster for good",
        "nothing, if you did that; else somebody else did who has the hub's keys",
        _server,
    ),
    Alarm(
        "SYS",
        f"{_JS}.SERVER.META_RESCUE",
        "hub.jetstream.rescue",
        "warning",
        "{who} goes on with less than a majority of the servers, as it was told to",
        _OTHERS,
        _server,
    ),
    Alarm(
        "SYS",
        f"{_JS}.API.LIMIT_REACHED",
        "hub.jetstream.overload",
        "error",
        "{who} dropped requests to JetStream because too many waited ({count} times)",
        "the disk is too slow, or somebody asks too much: see the server's load and log",
        _server,
    ),
    Alarm(
        "HUB",
        f"{_JS}.STREAM.DELETED.*",
        "hub.jetstream.stream_deleted",
        "error",
        "the stream {who} was deleted ({count} such words)",
        "the hub makes its own streams again, empty; whoever has the hub's keys can delete one, nobody else",
        _last_word,
    ),
    Alarm(
        "HUB",
        f"{_JS}.CONSUMER.MAX_DELIVERIES.*.*",
        "hub.jetstream.given_up",
        "warning",
        "{count} messages were given up after many tries, most of them by {who}",
        "see what takes them: `edgeagent hub status`",
        _consumer,
    ),
    Alarm(
        "HUB",
        f"{_JS}.STREAM.SNAPSHOT_COMPLETE.*",
        "hub.jetstream.snapshot",
        "info",
        "copies of {count} streams were made, the last one of {who}",
        "nothing, if that was your backup",
        _last_word,
    ),
    Alarm(
        "HUB",
        f"{_JS}.STREAM.RESTORE_COMPLETE.*",
        "hub.jetstream.restored",
        "warning",
        "{count} streams were put back from a copy, the last one {who}",
        "nothing, if that was you",
        _last_word,
    ),
    Alarm(
        "SYS",
        "$SYS.SERVER.*.LAMEDUCK",
        "hub.server_leaving",
        "info",
        "{who} is about to stop and sends its connections away",
        "nothing, if that was you",
        _server,
    ),
    Alarm(
        "SYS",
        "$SYS.SERVER.*.SHUTDOWN",
        "hub.server_stopped",
        "info",
        "{who} was stopped",
        "nothing, if that was you",
        _stopped,
    ),
)


def kinds() -> dict[str, Alarm]:
    """By the kind of event."""
    return {alarm.kind: alarm for alarm in ALARMS}


def read(alarm: Alarm, subject: str, data: bytes) -> str | None:
    """To whom it happened; None: it is nothing of this kind. Whatever the message is, it makes no error."""
    try:
        return alarm.who(json.loads(data), subject.rpartition(".")[2]) or None
    except (ValueError, AttributeError, TypeError, RecursionError):
        return None
