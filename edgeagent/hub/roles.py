"""What each role may publish and subscribe to: the permission templates of the scoped signing keys.

nats-server fills in ``{{name()}}`` (the device's id or the person's name) and ``{{tag(group)}}`` (one line for each group; none
drops the line) when a user connects. A change here disconnects everyone of the role once.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from edgeagent import subjects
from edgeagent.hub.streams import DEVICES_BUCKET, PEOPLE_READ, UPWARD
from edgeagent.subjects import API_PREFIX, Scope, direct_get
from edgeagent.trust.creds import UPLOAD_TAG

__all__ = ["LIMITED", "PEOPLE", "ROLES", "PersonRole", "Role", "template"]

PersonRole = Literal["viewer", "operator", "admin"]
Role = Literal["device", "viewer", "operator", "admin", "group-viewer", "group-operator", "provision", "renewal"]
PEOPLE: tuple[PersonRole, ...] = get_args(PersonRole)
ROLES: tuple[Role, ...] = get_args(Role)
#: What a person's role becomes when it is limited to groups. An administrator's cannot be.
LIMITED: dict[PersonRole, Role] = {"viewer": "group-viewer", "operator": "group-operator"}

Template = dict[str, Any]

_NAME = "{{name()}}"
_OWN = Scope("device", _NAME)
_OWN_GROUPS = Scope("group", "{{tag(group)}}")
_HEARD = (_OWN, _OWN_GROUPS, subjects.FLEET_ALL)
#: Every scope that a person may address, and those of one who is limited to groups: a device's own scope says nothing of its groups.
_ADDRESSED = (subjects.FLEET_ALL, Scope("group", "*"), Scope("device", "*"))
_ADDRESSED_IN_GROUPS = (_OWN_GROUPS,)
#: What every device reads besides its configuration.
_TRUST = (subjects.SIGNERS, subjects.AUTHORITIES)

#: What a device may say, as the tokens after ``edge.from.<id>.``: what is stored, requests, and answers to queries.
_SAID = (*UPWARD, "request.*", "reply.*.*")

#: nats-server lets every leaf publish and hear this unless it is denied; one with an MQTT listener would mix its sessions with others'.
_MQTT = "$MQTT.>"

#: NATS's own micro protocol: only its questions, never another service's endpoint.
_MICRO_QUESTIONS = [f"$SRV.{verb}{rest}" for verb in ("PING", "INFO", "STATS") for rest in ("", ".>")]
#: What a device may publish back to askers of the micro protocol; people's other inboxes stay closed to it.
_MICRO_ANSWERS = subjects.micro_inbox(">")

_MAX_PAYLOAD_BYTES = 1 << 20
#: A question is small; a viewer has nothing else to say.
_VIEWER_PAYLOAD_BYTES = 64 << 10
_PEOPLE_SUBSCRIPTIONS = 100
#: An inbox, and what a leaf adds of its own.
_PROVISION_SUBSCRIPTIONS = 8
_CLAIM_PAYLOAD_BYTES = 8 << 10
#: An agent needs four per scope and a few of its own; this is enough for 32 groups, more than a device can have.
_DEVICE_SUBSCRIPTIONS = 160


def template(role: Role, *, micro: bool) -> Template:
    """The template of ``role``. micro: the fleet answers NATS's micro protocol (fleets below about 500 devices)."""
    if role == "provision":
        return provision()
    if role == "renewal":
        return renewal()
    if role in LIMITED.values():
        micro = False  # its questions go to every device
    return {
        "device": device,
        "viewer": viewer,
        "operator": operator,
        "admin": admin,
        "group-viewer": group_viewer,
        "group-operator": group_operator,
    }[role](micro=micro)


def device(*, micro: bool) -> Template:
    """A leaf: speaks under its own id, reads its own scopes' documents and logs, and what the hub has of itself.

    It may read every file that was pushed, so there must be no secrets in them.
    """
    return {
        "pub": {
            "allow": [
                *[f"edge.from.{_NAME}.{what}" for what in _SAID],
                *[direct_get(f"KV_{subjects.document_bucket(scope)}", subjects.document(scope)) for scope in (*_HEARD, *_TRUST)],
                direct_get(f"KV_{DEVICES_BUCKET}", subjects.kv(DEVICES_BUCKET, _NAME)),
                *[direct_get("EDGE_COMMANDS", subjects.command_log(scope)) for scope in _HEARD],
                *_own_uploads(),
                direct_get(subjects.FILES, subjects.file_piece("*", "*")),
                *([_MICRO_ANSWERS] if micro else []),
            ],
            "deny": [_MQTT],
        },
        "sub": {
            "allow": [
                *[f"edge.to.{scope}.>" for scope in _HEARD],
                *[subjects.config_doorbell(scope) for scope in _TRUST],
                *(["$SRV.>"] if micro else []),
            ]
        },
        "subs": _DEVICE_SUBSCRIPTIONS,
        "payload": _MAX_PAYLOAD_BYTES,
        "allowed_connection_types": ["LEAFNODE", "LEAFNODE_WS"],
    }


def _own_uploads() -> list[str]:
    """Direct Gets of what the device itself has stored: cursors, fences and the probe of the link."""
    stream_of = {"report": "REPORTS", "heartbeat": "REPORTS", "result.*": "RESULTS", "metric": "METRICS", "data": "DATA"}
    return [direct_get(f"EDGE_{stream_of[what]}", f"edge.from.{_NAME}.{what}") for what in UPWARD if what in stream_of]


def viewer(*, micro: bool, addressed: tuple[Scope, ...] = _ADDRESSED) -> Template:
    """A person who may ask and read everything but change nothing."""
    return {
        "pub": {
            "allow": [
                *[subjects.query(scope) for scope in addressed],
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


def operator(*, micro: bool, addressed: tuple[Scope, ...] = _ADDRESSED) -> Template:
    """A viewer who may also set configuration and write commands, and files for devices if the login's tags say so."""
    rights = viewer(micro=micro, addressed=addressed)
    rights["pub"]["allow"] += [subjects.document(scope) for scope in addressed]
    rights["pub"]["allow"] += [subjects.command_log(scope) for scope in addressed]
    rights["pub"]["allow"] += [subjects.file_piece(f"{{{{tag({UPLOAD_TAG})}}}}", "*")]
    return {**rights, "payload": _MAX_PAYLOAD_BYTES}


def group_viewer(*, micro: bool) -> Template:
    """A viewer whose questions reach only the groups in the JWT's tags. What the hub keeps of other devices stays readable."""
    return viewer(micro=micro, addressed=_ADDRESSED_IN_GROUPS)


def group_operator(*, micro: bool) -> Template:
    """An operator of the groups in the JWT's tags only."""
    return operator(micro=micro, addressed=_ADDRESSED_IN_GROUPS)


def admin(*, micro: bool) -> Template:
    """An operator who may also order the hub's services about and say who may sign. Never ``>`` here."""
    rights = operator(micro=micro)
    rights["pub"]["allow"] += [subjects.document(subjects.SIGNERS), subjects.admin(_NAME, "*")]
    return rights


def provision() -> Template:
    """A claim token: whoever has it may ask for one thing, in the name of one claim. It comes as a leaf, like the device later."""
    return {
        "pub": {"allow": [subjects.claim(_NAME)], "deny": [_MQTT]},
        "sub": {"allow": [f"_INBOX.{_NAME}.>"]},
        "subs": _PROVISION_SUBSCRIPTIONS,
        "payload": _CLAIM_PAYLOAD_BYTES,
        "bearer_token": True,
        "allowed_connection_types": ["LEAFNODE", "LEAFNODE_WS"],
    }


def renewal() -> Template:
    """A device whose JWT is no longer accepted: it may only ask for a new one. Its leaf links with this for a moment."""
    return {
        "pub": {"allow": [subjects.renewal(_NAME)], "deny": [_MQTT]},
        "sub": {"allow": [f"{subjects.agent_inbox(_NAME)}.>"]},
        "subs": _PROVISION_SUBSCRIPTIONS,
        "payload": _CLAIM_PAYLOAD_BYTES,
        "allowed_connection_types": ["LEAFNODE", "LEAFNODE_WS"],
    }
