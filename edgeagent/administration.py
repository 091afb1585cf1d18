"""What administrators ask of the hub's services (``edge.admin.<user>.<what>``), and what these answer. Shapes only.

An order about devices may name several. Each of them gets an outcome of its own, so that one that fails does not hide the others.
"""

from __future__ import annotations

import msgspec

from edgeagent.wire import VERSION

__all__ = [
    "AUDIT",
    "AuditEntry",
    "AuditPage",
    "ChangeGroups",
    "ChangeLabels",
    "Done",
    "Forget",
    "Outcomes",
    "Person",
    "ReadAudit",
    "Revoke",
    "RevokePerson",
    "Unrevoke",
    "refused_until",
]

#: An order about more devices than this does not fit into the answer that the hub can send.
MAX_DEVICES = 5_000
#: A revocation of a person's key reaches so far past the newest date that is known: clocks of those who issue logins may be ahead of the
#: hub's. It refuses nothing else, for every login has a key of its own.
_AHEAD_SECONDS = 366 * 86_400


class Revoke(msgspec.Struct, omit_defaults=True):
    """Keep these devices out (``device_revoke``). reason: for people; kept in the register."""

    ids: list[str]
    reason: str = ""
    v: int = VERSION


class Unrevoke(msgspec.Struct, omit_defaults=True):
    """Let these devices in again (``device_unrevoke``)."""

    ids: list[str]
    v: int = VERSION


class Forget(msgspec.Struct, omit_defaults=True):
    """Revoke these devices and remove what the register knows of them (``device_forget``)."""

    ids: list[str]
    v: int = VERSION


class ChangeGroups(msgspec.Struct, omit_defaults=True):
    """Put these devices into groups, at the end of their lists, and take them out of others (``device_groups``)."""

    ids: list[str]
    add: list[str] = []
    remove: list[str] = []
    v: int = VERSION


class ChangeLabels(msgspec.Struct, omit_defaults=True):
    """Give these devices labels, and take others away (``device_labels``)."""

    ids: list[str]
    set: dict[str, str] = {}
    remove: list[str] = []
    v: int = VERSION


class Done(msgspec.Struct, omit_defaults=True):
    """What became of one device.

    code: the stable code of the error, empty when it was done. text: the error as a sentence; else what there is to say, often nothing.
    changed: False when it was so already.
    """

    code: str = ""
    text: str = ""
    changed: bool = True


class Outcomes(msgspec.Struct, omit_defaults=True):
    """The answer to every order about devices: by id, in the order in which they were named."""

    devices: dict[str, Done]
    v: int = VERSION


class Person(msgspec.Struct, omit_defaults=True):
    """KV ``edge_people``, key = name: who was given credentials, and which (``people_register`` writes it).

    role: as the person calls it (``viewer``, ``operator``, ``admin``). groups: those that the role is limited to; none: all.
    actions: those that the person may order, empty where the role alone decides.
    key: the newest public user nkey. issued_at, expires_at: of its JWT, Unix seconds (0 = never).
    older: the keys before it -> when their JWTs end, also of those that have expired: they can still sign with a date in their past.
    revoked, reason: the newest key is kept out, and why. kept_out: every key that is, of those that had not expired.
    """

    name: str
    role: str
    key: str
    groups: list[str] = []
    actions: list[str] = []
    issued_at: int = 0
    expires_at: int = 0
    older: dict[str, int] = {}
    revoked: bool = False
    reason: str = ""
    kept_out: list[str] = []
    v: int = VERSION


class RevokePerson(msgspec.Struct, omit_defaults=True):
    """Keep a person out (``operator_revoke``). who: a name, for every login of that person; or one public user nkey."""

    who: str
    reason: str = ""
    v: int = VERSION


#: What is asked of the hub to read its audit, a page at a time.
AUDIT = "audit"


class ReadAudit(msgspec.Struct, omit_defaults=True):
    """What was written since ``since`` (RFC 3339; empty: ever), from the sequence ``first`` on."""

    since: str = ""
    first: int = 1
    v: int = VERSION


class AuditEntry(msgspec.Struct, omit_defaults=True):
    """A message of EDGE_AUDIT. subject: where it was written. time: when the hub stored it. data: as it was. deleted: it is a deletion."""

    sequence: int
    subject: str
    time: str
    data: bytes = b""
    deleted: bool = False


class AuditPage(msgspec.Struct, omit_defaults=True):
    """The answer. following: the sequence to go on with, 0 when that was all."""

    entries: list[AuditEntry]
    following: int = 0
    v: int = VERSION


def refused_until(person: Person, now: float) -> int:
    """Up to which second what was issued for a key of the ``person`` is refused once it is revoked. now: Unix seconds."""
    return max(int(now), person.issued_at) + _AHEAD_SECONDS
