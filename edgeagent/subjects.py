"""Every subject edgeagent uses on NATS, and the rules for the words in them.

Subjects have a fixed number of tokens, so that a permission is one line and a parser is one ``split``. docs/wire.md describes
them for readers of other languages. This module has no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "API_PREFIX",
    "AUTHORITIES",
    "CONFIG_BUCKET",
    "DATA",
    "DEVICES_BUCKET",
    "FILES",
    "FLEET_ALL",
    "HUB",
    "METRICS",
    "SIGNERS",
    "TRUST_BUCKET",
    "UPLOADS",
    "VISITING",
    "Scope",
    "admin",
    "agent_inbox",
    "check_group",
    "check_id",
    "claim",
    "command_doorbell",
    "command_log",
    "data",
    "direct_get",
    "document",
    "document_bucket",
    "event",
    "file_piece",
    "file_upload",
    "heartbeat",
    "is_id",
    "live",
    "metric",
    "operator_inbox",
    "parse_reply",
    "query",
    "record_doorbell",
    "renewal",
    "reply",
    "reply_user",
    "report",
    "request_to_hub",
    "result",
    "scopes_of",
]

#: Where the accounts OPS and FLEET see the hub's JetStream API. It must not be ``$JS.hub.API``: the server's own domain mapping
#: takes that name before an account's import does, and requests time out (seen with nats-server 2.15.1).
API_PREFIX = "edge.api"

#: KV buckets that a device reads: signed documents by scope, and what the hub decided about each device.
CONFIG_BUCKET = "edge_config"
#: Apart from the configuration: operators, who may write that, must not be able to fill this.
TRUST_BUCKET = "edge_trust"
DEVICES_BUCKET = "edge_devices"
#: Streams of pieces of files: those that people give to devices, and those that devices hand over.
FILES, UPLOADS = "EDGE_FILES", "EDGE_UPLOADS"
#: The hub's streams of chunks: samples, and messages of the devices' own programs.
METRICS, DATA = "EDGE_METRICS", "EDGE_DATA"

#: One token, safe in a subject, a file name and a DNS label (RFC 1123).
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
#: A user's name is one token of an inbox prefix and of a reply subject.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

ID_RULE = "1 to 63 of a-z, 0-9 and '-', beginning with a letter or digit"


def is_id(text: str) -> bool:
    """Whether ``text`` can be the id of a device or the name of a group."""
    return _ID.match(text) is not None


def is_token(text: str) -> bool:
    """Whether ``text`` can stand as one token of a subject (user names, query tokens)."""
    return _TOKEN.match(text) is not None


def check_id(text: str, what: str = "device id") -> str:
    """Return ``text`` if it is a valid id; raise ValueError with the rule otherwise."""
    if not is_id(text):
        raise ValueError(f"{text!r} is no {what}: {ID_RULE}")
    return text


def check_group(text: str) -> str:
    """Like :func:`check_id`, for the name of a group."""
    return check_id(text, "group name")


class Scope(NamedTuple):
    """Whom a message is for: ``fleet.all``, ``group.<name>`` or ``device.<id>``."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.name}"

    @classmethod
    def group(cls, name: str) -> Scope:
        return cls("group", check_group(name))

    @classmethod
    def device(cls, device_id: str) -> Scope:
        return cls("device", check_id(device_id))


FLEET_ALL = Scope("fleet", "all")


def scopes_of(device_id: str, groups: Iterable[str]) -> list[Scope]:
    """Every scope that is for a device, the widest first: questions, commands, and the layers of its configuration in this order.

    groups: in the device's order.
    """
    return [FLEET_ALL, *(Scope.group(name) for name in groups), Scope.device(device_id)]


#: Two more documents beside the configuration, the same for every device: who may sign (written by an admin, and signed), and the
#: certificate authorities of the hub's TLS (written by the hub itself).
SIGNERS = Scope("trust", "signers")
AUTHORITIES = Scope("trust", "authorities")

#: How the name of a leaf ends that a device starts for a moment, beside its own, to look whether an address leads to a hub of its.
VISITING = "-visit"

#: Events of the hub itself are stored as if they were those of a device of this id; no device may have it.
HUB = "hub"


def query(scope: Scope) -> str:
    """A live query; the answer goes to :func:`reply`."""
    return f"edge.to.{scope}.query"


def config_doorbell(scope: Scope) -> str:
    """Rings when the scope's config document changed; carries nothing that may be acted on."""
    return f"edge.to.{scope}.config"


def document_bucket(scope: Scope) -> str:
    """The KV bucket of the scope's document."""
    return TRUST_BUCKET if scope.kind == "trust" else CONFIG_BUCKET


def document(scope: Scope) -> str:
    """Where the scope's document is stored: the subject behind its key."""
    return kv(document_bucket(scope), scope.name if scope.kind == "trust" else str(scope))


def command_log(scope: Scope, number: int | str = "*") -> str:
    """Entry ``number`` of the scope's command log; ``*`` in a Direct Get asks for the newest."""
    return f"edge.to.{scope}.cmd.{number}"


def command_doorbell(scope: Scope) -> str:
    """Rings when there is a new entry in the scope's command log; carries nothing that may be acted on."""
    return f"edge.to.{scope}.command"


def file_piece(upload: str, number: int | str) -> str:
    """Piece ``number``, from 1, of a file that was uploaded for devices. upload: its random id."""
    return f"edge.file.{upload}.{number}"


def file_upload(device_id: str = "*") -> str:
    """Where a device hands over pieces of files; headers say which."""
    return f"edge.from.{device_id}.file"


def record_doorbell(device_id: str) -> str:
    """Rings when what the hub decided about the device (its groups, labels, credentials) changed."""
    return f"edge.to.device.{device_id}.record"


def agent_inbox(device_id: str) -> str:
    """Inbox prefix of a device's agent: the only place where answers to its requests may arrive."""
    return f"edge.to.device.{device_id}.in"


def operator_inbox(user: str) -> str:
    """Inbox prefix of a person. Devices can't publish there, which is what makes it trustworthy."""
    return f"_INBOX.ops.{user}"


def micro_inbox(user: str) -> str:
    """Inbox prefix for NATS's own tools (``nats micro ls``); devices may publish there when ``micro`` is on."""
    return f"_INBOX.srv.{user}"


def report(device_id: str = "*") -> str:
    return f"edge.from.{device_id}.report"


def heartbeat(device_id: str = "*") -> str:
    return f"edge.from.{device_id}.heartbeat"


def result(device_id: str, command_id: str) -> str:
    """What became of a command on the device; the newest counts. ``*`` as the device's id: on any."""
    return f"edge.from.{device_id}.result.{command_id}"


def metric(device_id: str = "*") -> str:
    """Chunks of samples (:mod:`edgeagent.chunk`)."""
    return f"edge.from.{device_id}.metric"


def data(device_id: str = "*") -> str:
    """Chunks of messages of the device's own programs."""
    return f"edge.from.{device_id}.data"


def event(device_id: str, severity: str) -> str:
    """Something a person should see; severity is one of :data:`edgeagent.hub.streams.SEVERITIES`."""
    return f"edge.from.{device_id}.event.{severity}"


def request_to_hub(device_id: str, what: str) -> str:
    """A device's request to the hub's services, e.g. ``renew``. The subject proves who asks."""
    return f"edge.from.{device_id}.request.{what}"


def admin(user: str, what: str) -> str:
    """An administrator's request to the hub's services, e.g. ``device_revoke``. The subject proves who asks."""
    return f"edge.admin.{user}.{what}"


def claim(token_id: str) -> str:
    """Where the holder of a claim token asks to become a device (account PROVISION)."""
    return f"provision.claim.{token_id}"


def renewal(device_id: str) -> str:
    """Where a device whose JWT is no longer accepted asks for a new one, with its renewal credential (account PROVISION)."""
    return f"provision.renew.{device_id}"


def reply(device_id: str, user: str, token: str) -> str:
    """Where a device answers a live query. The second and third token prove who speaks (only that device may publish here)."""
    return f"edge.from.{device_id}.reply.{user}.{token}"


def replies_to(user: str) -> str:
    """What an operator subscribes to, to hear all answers to own queries."""
    return f"edge.from.*.reply.{user}.*"


def parse_reply(subject: str) -> tuple[str, str] | None:
    """``(device id, query token)`` of a :func:`reply` subject, None for any other."""
    tokens = subject.split(".")
    if len(tokens) == 6 and tokens[:2] == ["edge", "from"] and tokens[3] == "reply":
        return tokens[2], tokens[5]
    return None


def reply_user(inbox: str) -> str | None:
    """Whose inbox a query came from, None unless it is a person's (``_INBOX.ops.<user>.…``).

    A message injected by a device through the reply subject of a Direct Get has no reply of its own, and cannot be given one.
    """
    tokens = inbox.split(".")
    if len(tokens) >= 4 and tokens[:2] == ["_INBOX", "ops"] and is_token(tokens[2]):
        return tokens[2]
    return None


def live(device_id: str, what: str) -> str:
    """Where the hub republishes what it has stored from a device, for people who watch."""
    return f"edge.live.{device_id}.{what}"


def direct_get(stream: str, subject: str = "", prefix: str = API_PREFIX) -> str:
    """Subject of a Direct Get through the account's import: the subject form (the last message on ``subject``, empty body) or,
    without a subject, the payload form (batches; people only). prefix: ``$JS.API`` in the account HUB itself."""
    return f"{prefix}.DIRECT.GET.{stream}" + (f".{subject}" if subject else "")


def kv(bucket: str, key: str) -> str:
    """The subject behind a key of a KV bucket."""
    return f"$KV.{bucket}.{key}"


def device_of(subject: str) -> str:
    """The device id in an ``edge.from.<id>.…`` or ``edge.live.<id>.…`` subject."""
    return subject.split(".")[2]
