"""What each role may publish and subscribe to: the permission templates of the scoped signing keys.

nats-server fills in ``{{name()}}`` (the device's id or the person's name) and ``{{tag(group)}}`` (one line for each group; none
drops the line) when a user connects. A change here disconnects everyone of the role once.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from edgeagent import subjects
from edgeagent.hub.streams import ARTIFACTS, CONFIG_BUCKET, PEOPLE_READ, UPWARD
from edgeagent.subjects import API_PREFIX, Scope, direct_get

__all__ = ["PEOPLE", "ROLES", "PersonRole", "Role", "admin", "device", "operator", "provision", "template", "viewer"]

PersonRole = Literal["viewer", "operator", "admin"]
Role = Literal["device", "viewer", "operator", "admin", "provision"]
PEOPLE: tuple[PersonRole, ...] = get_args(PersonRole)
ROLES: tuple[Role, ...] = get_args(Role)

Template = dict[str, Any]

_NAME = "{{name()}}"
_OWN = Scope("device", _NAME)
_OWN_GROUPS = Scope("group", "{{tag(group)}}")
_HEARD = (_OWN, _OWN_GROUPS, subjects.FLEET_ALL)
#: Every scope that a person may address.
_ADDRESSED = (subjects.FLEET_ALL, Scope("group", "*"), Scope("device", "*"))

#: What a device may say, as the tokens after ``edge.from.<id>.``: what is stored, requests, and answers to queries.
_SAID = (*UPWARD, "request.*", "reply.*.*")

#: NATS's own micro protocol: only its questions, never another service's endpoint.
_MICRO_QUESTIONS = [f"$SRV.{verb}{rest}" for verb in ("PING", "INFO", "STATS") for rest in ("", ".>")]
#: What a device may publish back to askers of the micro protocol; people's other inboxes stay closed to it.
_MICRO_ANSWERS = subjects.micro_inbox(">")

_MAX_PAYLOAD_BYTES = 1 << 20
#: A question is small; a viewer has nothing else to say.
_VIEWER_PAYLOAD_BYTES = 64 << 10
_PEOPLE_SUBSCRIPTIONS = 100
#: An agent needs three per scope and a few of its own; this leaves room for some 15 groups.
_DEVICE_SUBSCRIPTIONS = 64


def template(role: Role, *, micro: bool) -> Template:
    """The template of ``role``. micro: the fleet answers NATS's micro protocol (fleets below about 500 devices)."""
    if role == "provision":
        return provision()
    return {"device": device, "viewer": viewer, "operator": operator, "admin": admin}[role](micro=micro)


def device(*, micro: bool) -> Template:
    """A leaf: speaks under its own id, reads its own scopes' documents and logs, and what the hub has of itself.

    It may read whole artifacts, so there must be no secrets in them; everywhere else it names the subject it reads.
    """
    return {
        "pub": {
            "allow": [
                *[f"edge.from.{_NAME}.{what}" for what in _SAID],
                *[direct_get(f"KV_{CONFIG_BUCKET}", subjects.kv(CONFIG_BUCKET, str(scope))) for scope in _HEARD],
                *[direct_get("EDGE_COMMANDS", subjects.command_log(scope)) for scope in _HEARD],
                *_own_uploads(),
                direct_get(f"OBJ_{ARTIFACTS}"),
                direct_get(f"OBJ_{ARTIFACTS}", ">"),
                *([_MICRO_ANSWERS] if micro else []),
            ],
            # A leaf with an MQTT listener must not mix its sessions with the hub's.
            "deny": ["$MQTT.>"],
        },
        "sub": {"allow": [*[f"edge.to.{scope}.>" for scope in _HEARD], *(["$SRV.>"] if micro else [])]},
        "subs": _DEVICE_SUBSCRIPTIONS,
        "payload": _MAX_PAYLOAD_BYTES,
        "allowed_connection_types": ["LEAFNODE", "LEAFNODE_WS"],
    }


def _own_uploads() -> list[str]:
    """Direct Gets of what the device itself has stored: cursors, fences and the probe of the link."""
    stream_of = {"report": "REPORTS", "heartbeat": "REPORTS", "result.*": "RESULTS", "metric": "METRICS", "data.*": "DATA"}
    return [direct_get(f"EDGE_{stream_of[what]}", f"edge.from.{_NAME}.{what}") for what in UPWARD if what in stream_of]


def viewer(*, micro: bool) -> Template:
    """A person who may ask and read everything but change nothing."""
    return {
        "pub": {
            "allow": [
                *[subjects.query(scope) for scope in _ADDRESSED],
                *[f"{API_PREFIX}.STREAM.INFO.{stream}" for stream in PEOPLE_READ],
                *[direct_get(stream) for stream in PEOPLE_READ],
                *[direct_get(stream, ">") for stream in PEOPLE_READ],
                *(_MICRO_QUESTIONS if micro else []),
            ]
        },
        "sub": {
            "allow": [
                f"{subjects.operator_inbox(_NAME)}.>",
                subjects.replies_to(_NAME),
                "edge.live.>",
                *([f"{subjects.micro_inbox(_NAME)}.>"] if micro else []),
            ]
        },
        "subs": _PEOPLE_SUBSCRIPTIONS,
        "payload": _VIEWER_PAYLOAD_BYTES,
        "allowed_connection_types": ["STANDARD", "WEBSOCKET"],
    }


def operator(*, micro: bool) -> Template:
    """A viewer who may also set configuration and write commands."""
    rights = viewer(micro=micro)
    rights["pub"]["allow"] += [subjects.kv(CONFIG_BUCKET, str(scope)) for scope in _ADDRESSED]
    rights["pub"]["allow"] += [subjects.command_log(scope) for scope in _ADDRESSED]
    return {**rights, "payload": _MAX_PAYLOAD_BYTES}


def admin(*, micro: bool) -> Template:
    """In OPS the same as an operator. What an admin may besides (streams, purges) is a user of the account HUB; never ``>`` here."""
    return operator(micro=micro)


def provision() -> Template:
    """A claim token: whoever has it may ask for one thing, in the name of one claim."""
    return {
        "pub": {"allow": [f"provision.claim.{_NAME}"]},
        "sub": {"allow": [f"_INBOX.{_NAME}.>"]},
        "subs": 2,
        "payload": 4096,
        "bearer_token": True,
        "allowed_connection_types": ["STANDARD", "WEBSOCKET"],
    }
