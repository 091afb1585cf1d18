"""Writing into the command logs and reading them back. A number is taken by whoever is first; nobody's entry is ever replaced."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from edgeagent import subjects
from edgeagent.command import CANCEL, MAX_ENTRY_BYTES, Entry
from edgeagent.direct import get_last, read_all
from edgeagent.errors import Closed, EdgeError, Failed, Refused, Unreachable, UsageProblem
from edgeagent.fenced import stored_if
from edgeagent.fleet.allowed import unless_forbidden
from edgeagent.fleet.commandentry import MAX_NUMBER, Command, LogEntry, log_entry, made
from edgeagent.link import Client
from edgeagent.patience import asked
from edgeagent.subjects import API_PREFIX, FLEET_ALL, Scope
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import Signature, check, sign

__all__ = ["about", "append", "check_room", "check_signed", "place_after", "recent", "signed_entry", "whom"]

STREAM = "EDGE_COMMANDS"
WHAT = "send the command"
#: nats-server's word for a stream that has no room (``NewJSStreamStoreFailedError``: ``ErrMaxBytes``).
FULL = "maximum bytes exceeded"
#: Somebody else may take the number; each round one of those who try succeeds.
TRIES = 64
#: The bound of the pause before the next try, in seconds: those of many must differ. After :data:`AT_ONCE` tries it grows: a copy that
#: answers in a cluster, and lags behind after its server's restart, may take seconds.
PAUSE_SECONDS, AT_ONCE = 0.02, 8
#: How far the floor of a log is moved on with one entry: most logs need a step, and a sender must not read a log for ever.
FLOOR_STEPS, FLOOR_AT_ONCE = 20, 5
#: Numbers so far above the newest entry that somebody signed are not counted on from, as devices do not read that far for them.
MAX_GAP = 10_000
#: How many messages of the stream are looked at at once, from its end backwards.
WINDOW = 500


class _Place(NamedTuple):
    """Where the next entry goes."""

    number: int
    log: str
    floor: int


async def append(client: Client, login: Credentials, scope: Scope, entry: Entry, pins: Pins | None = None) -> int:
    """Sign ``entry`` as the next of the scope's log and store it; its number. Its ``log`` and ``floor`` are filled in here.

    pins: whom devices follow, so what the log says of itself is taken from their entries; None: nobody told.
    Raises Refused when the login may not, UsageProblem when it is too large, Unreachable when the hub does not answer.
    """
    for number in range(TRIES):
        try:
            place = await _next(client, scope, pins)
        except (Unreachable, Closed) as error:
            raise Unreachable(WHAT, error.why, f"nothing was written into the log of {scope}; try again") from None
        check_room(scope, place.number)
        draft = msgspec.structs.replace(entry, log=place.log, floor=place.floor)
        data = signed_entry(login, scope, draft, number=place.number, at=int(time.time()))
        if await _stored(client, login, scope, place.number, data, doubt=_doubt(entry)):
            return place.number
        await asyncio.sleep(random.uniform(0, PAUSE_SECONDS * max(1, number - AT_ONCE)))
    raise Refused(WHAT, f"others write into the log of {scope} all the time", "try again")


def check_room(scope: Scope, number: int) -> None:
    """Raise Failed when there is no such number: somebody wrote an entry with one of the last ones."""
    if number < MAX_NUMBER:
        return
    remedy = "revoke whoever wrote it (`edgeagent audit` says who), and name the devices with -d, or another group"
    raise Failed(WHAT, f"the log of {scope} is at its end: it has an entry with the number {number - 1:,}", remedy)


def signed_entry(login: Credentials, scope: Scope, entry: Entry, *, number: int, at: int) -> bytes:
    """The envelope to store. at: Unix seconds. Raises UsageProblem when it is too large, or cannot be written as JSON."""
    try:
        data = sign(login, kind="command", scope=scope, number=number, at=at, body=msgspec.json.encode(entry))
    except (ValueError, TypeError) as error:
        raise UsageProblem(WHAT, f"its arguments: {error}") from None
    if len(data) > MAX_ENTRY_BYTES:
        why = f"it has {len(data):,} bytes with its signature, and {MAX_ENTRY_BYTES:,} fit"
        raise UsageProblem(WHAT, why, "make its arguments shorter; what is large is better fetched by the device")
    return data


def check_signed(login: Credentials, scope: Scope, data: bytes) -> Signature:
    """What the signature says to a device that trusts the login's role.

    Raises UsageProblem when the login is limited to other groups, Refused when such a device would not follow it: a clock is wrong.
    """
    if login.groups and not (scope.kind == "group" and scope.name in login.groups):
        raise UsageProblem(
            f"command {whom(scope)}", f"this login is limited to the groups {', '.join(login.groups)}", "ask who may"
        )
    issuer = str(jwt.claims(login.jwt).get("iss", ""))
    role = "group-operator" if login.groups else "operator"
    try:
        return check(data, kind="command", scope=scope, pins=Pins(signers={issuer: role}))
    except Refused as error:
        why = f"devices would not follow it: {error.why}"
        raise Refused(WHAT, why, "check this machine's clock, and the login's end") from None


def whom(scope: Scope) -> str:
    """A scope for people."""
    return "the whole fleet" if scope == FLEET_ALL else f"the {scope.kind} {scope.name}"


def _doubt(entry: Entry) -> str:
    """What to do when it cannot be known whether the entry is stored."""
    return f"it may be stored all the same: `edgeagent cmd show {about(entry)}` tells; look before you send it again"


def about(entry: Entry) -> str:
    """Id of the command that it is, or that it cancels."""
    return str(entry.args.get("id")) if entry.action == CANCEL else entry.id


async def _stored(client: Client, login: Credentials, scope: Scope, number: int, data: bytes, *, doubt: str) -> bool:
    """Whether ``data`` is the entry ``number`` now; False when somebody else was first."""
    subject = subjects.command_log(scope, number)
    refusal = Refused(WHAT, f"{login.name} may look, but not command {whom(scope)}", "ask an operator or an administrator")
    try:
        storing = stored_if(client, subject, data, 0, stream=STREAM, what=WHAT)
        return await unless_forbidden(client, subject, storing, refusal) is not None
    except Failed as error:
        if FULL not in error.why:
            raise
        raise Failed(
            WHAT, f"the hub has no room for more commands ({error.why})", "raise `store_max_bytes` in its hub.toml"
        ) from None
    except (Unreachable, Closed) as error:
        with contextlib.suppress(EdgeError):
            stored = await get_last(client, STREAM, subject)
            if stored is not None:  # only the acknowledgement got lost, or somebody else was first
                return stored.data == data
        raise Unreachable(WHAT, error.why, doubt) from None


async def _next(client: Client, scope: Scope, pins: Pins | None) -> _Place:
    head = await get_last(client, STREAM, subjects.command_log(scope))
    if head is None:
        return _Place(1, secrets.token_hex(16), 1)
    newest = log_entry(head, pins)
    if newest is None or newest.problem or newest.entry is None:
        return await _after_rubbish(client, scope, pins)
    floor = await _floor(client, scope, newest.entry.floor, newest.number, pins)
    return _Place(newest.number + 1, newest.entry.log, floor)


async def _after_rubbish(client: Client, scope: Scope, pins: Pins | None) -> _Place:
    """The newest message of the log is nobody's entry, so it says nothing of the log: go by the newest one that is."""
    found = [log_entry(item, pins) async for item in read_all(client, STREAM, subjects.command_log(scope))]
    return place_after([entry for entry in found if entry]) or _Place(1, secrets.token_hex(16), 1)


def place_after(entries: Sequence[LogEntry]) -> _Place | None:
    """Where the next entry goes in a log with these messages; None when there is none of them.

    Numbers that nobody signed count only near the newest entry: a large one would be the end of the log. Where none is followed since the
    role's key was exchanged, or whoever signed them was revoked, the newest of anybody's counts: it is the same log still, and another
    one would look to devices as if the hub had been restored. Pure.
    """
    followed = [found for found in entries if found.entry and not found.problem]
    signed = followed or [found for found in entries if found.entry and found.whole]
    head = max(signed, key=lambda found: found.number, default=None)
    start = head.number if head else 0
    number = max((found.number for found in entries if found.number <= start + MAX_GAP), default=start) + 1
    if head is None or head.entry is None:
        return _Place(number, secrets.token_hex(16), number) if entries else None
    return _Place(number, head.entry.log, min(head.entry.floor, number))


async def _floor(client: Client, scope: Scope, floor: int, head: int, pins: Pins | None) -> int:
    """The floor of the entry after ``head``: past what has expired, some steps at most."""
    floor, now = max(1, min(floor, head)), time.time()
    last = min(head, floor + FLOOR_STEPS - 1)
    while floor <= last:
        numbers = range(floor, min(last, floor + FLOOR_AT_ONCE - 1) + 1)
        found = await asyncio.gather(*(get_last(client, STREAM, subjects.command_log(scope, number)) for number in numbers))
        for stored in found:
            entry = log_entry(stored, pins) if stored else None
            if entry and entry.entry and not entry.problem and entry.entry.not_after >= now:
                return floor
            floor += 1
    return floor


async def recent(client: Client, pins: Pins | None = None, *, since: datetime | None = None) -> AsyncIterator[list[Command]]:
    """The commands that the hub has, the newest first: more of them each time, until all that came after ``since`` are there.

    pins: whom devices follow; None: nobody told. A command that is for many has all of its scopes once an older one is among them.
    """
    entries: list[LogEntry] = []
    last = await _last_sequence(client)
    while last > 0:
        first = max(1, last - WINDOW + 1)
        page = await _between(client, first, last, pins)
        entries, last = [*entries, *page], first - 1
        oldest = min((entry.time for entry in page), default=None)
        yield made(entries)
        if since and oldest and oldest < since:
            return


async def _last_sequence(client: Client) -> int:
    answer = await asked(client, f"{API_PREFIX}.STREAM.INFO.{STREAM}", what="read the commands")
    info = json.loads(answer.data)
    if "error" in info:
        raise Failed("read the commands", info["error"].get("description", "unknown error"), "is `edgeagent hub up` running?")
    return int(info["state"]["last_seq"])


async def _between(client: Client, first: int, last: int, pins: Pins | None) -> Sequence[LogEntry]:
    found = []
    async for item in read_all(client, STREAM, "edge.to.*.*.cmd.*", first=first):
        if item.sequence > last:
            break
        entry = log_entry(item, pins)
        if entry:
            found.append(entry)
    return found
