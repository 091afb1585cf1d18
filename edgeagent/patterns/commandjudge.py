"""Whether an entry of a log is to be followed by this device, and as what it goes into the journal.

Nothing here runs anything, and an entry that nobody trusted signed says nothing at all: not even whom it is for.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

import msgspec

from edgeagent import actions, wire
from edgeagent.cel import Busy, Verdict
from edgeagent.command import CANCEL, MAX_ENTRY_BYTES, Entry, Result, State, Target, digest, entry_of, is_made_by
from edgeagent.errors import EdgeError, Failed, Refused, UsageProblem
from edgeagent.journalrows import Cancel, New, Step, args_text, mark_of
from edgeagent.settings import Settings
from edgeagent.subjects import Scope
from edgeagent.times import rfc3339
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import SKEW_SECONDS, Signature, check

__all__ = ["Here", "examine", "is_id"]

#: Where only the hub says how late it is, whoever signs is believed before it, but for so long at most, in seconds: a clock that is
#: years ahead must not have every command of others expire.
MAX_AHEAD_SECONDS = 86_400
#: An id is one token of a subject: 26 letters of Crockford's base 32 (github.com/ulid/spec).
_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}\Z")
#: What may stand as a moment: JSON's and SQLite's numbers end somewhere.
_MAX_MOMENT = 1 << 53
_MAX_SPLAY_SECONDS, _MAX_NAME = 86_400.0, 100
#: How long an entry is kept at most whose action is not known here, in seconds: what it says itself is anybody's.
_KEEP_SECONDS = 7 * 86_400
#: A reason is a sentence.
_MAX_REASON = 500


class Filter(Protocol):
    async def evaluate(self, expression: str, facts: wire.Facts) -> Verdict: ...


@dataclass(frozen=True, kw_only=True)
class Here:
    """What a command meets on this device.

    enrolled_at: Unix seconds, None when it is not known. now: the time as far as it is known, Unix seconds; None: it is not. saw: told of each
    entry's good signature. room: why no command may run now because there is no space to write down what becomes of it; empty: there is.
    """

    device_id: str
    settings: Settings
    pins: Callable[[], Pins]
    labels: Callable[[], Mapping[str, str]]
    facts: Callable[[], wire.Facts]
    evaluator: Filter
    now: Callable[[], float | None]
    enrolled_at: float | None = None
    saw: Callable[[Signature], None] = lambda found: None
    room: Callable[[], str] = lambda: ""


def is_id(text: object) -> bool:
    """Whether it can be the id of a command."""
    return isinstance(text, str) and _ID.match(text) is not None


async def examine(here: Here, pins: Pins, scope: Scope, number: int, data: bytes, *, last_try: bool = False) -> tuple[Step, str]:
    """What an entry asks of this device, and why it must not be followed at all (then it asks nothing); empty when it may.

    number: of its subject. last_try: refuse it when its filter can't be evaluated now. Raises Busy for that otherwise, until it has expired.
    """
    try:
        found = check(data, kind="command", scope=scope, pins=pins)
        if found.number != number:
            raise Refused("follow a command", f"it was signed as entry {found.number}")
        entry = entry_of(found.body)
    except EdgeError as error:
        return Step(number, "", 0), str(error)
    mark, now = digest(data), here.now()
    if now is not None and found.at <= now + MAX_AHEAD_SECONDS:
        here.saw(found)
    try:
        _check(found, entry)
    except EdgeError as error:
        return Step(number, mark, min(found.at + _KEEP_SECONDS, _MAX_MOMENT)), str(error)
    return Step(number, mark, _not_after(found, entry), await _asked(here, found, entry, last_try, data)), ""


def _check(found: Signature, entry: Entry) -> None:
    """Raise when the entry's fields are impossible, or its id is another's."""
    what = "follow a command"
    if len(found.body) > MAX_ENTRY_BYTES:
        raise Refused(what, f"it has {len(found.body)} bytes; {MAX_ENTRY_BYTES} are allowed")
    good = is_id(entry.id) and entry.id.isascii() and 0 < len(entry.action) <= _MAX_NAME and 0 < entry.not_after < _MAX_MOMENT
    if not (good and math.isfinite(entry.splay_seconds) and 0 <= entry.splay_seconds <= _MAX_SPLAY_SECONDS):
        raise Failed(what, "its id, action or times are impossible")
    if not is_made_by(entry.id, found.key):
        raise Refused(what, f"its id, {entry.id}, was not made by {found.signer}")


def _not_after(found: Signature, entry: Entry) -> int:
    """When it expires, Unix seconds: whoever wrote it may know less of the action than this device."""
    action = actions.find(entry.action)
    return min(entry.not_after, found.at + math.ceil(action.max_expiry_seconds if action else _KEEP_SECONDS))


async def _asked(here: Here, found: Signature, entry: Entry, last_try: bool, data: bytes) -> New | Cancel | None:
    if entry.action == CANCEL:
        wanted = entry.args.get("id")
        return Cancel(str(wanted), found.signer, found.actions, found.key) if is_id(wanted) else None
    try:
        if not await _is_meant(here, entry.target):
            return None
        reason = _refusal(here, found, entry)
    except Busy as error:
        now = here.now()
        if not last_try and (now is None or now <= _not_after(found, entry)):
            raise
        reason = f"its filter could not be evaluated here in time: {error.why}"
    except (UsageProblem, Refused) as error:
        reason = f"its filter cannot be evaluated here: {actions.printable(error.why, _MAX_REASON)}"
    return _new(here, found, entry, reason, data)


async def _is_meant(here: Here, target: Target) -> bool:
    """Whether this device is meant. Raises UsageProblem or Refused for a filter that can't be evaluated, Closed at the end."""
    if target.devices and here.device_id not in target.devices:
        return False
    labels = here.labels()
    if any(labels.get(key) != value for key, value in target.labels.items()):
        return False
    if not target.where:
        return True
    return (await here.evaluator.evaluate(target.where, here.facts())).matched


def _refusal(here: Here, found: Signature, entry: Entry) -> str:
    if not found.may(entry.action):
        return f"{found.signer} may not give the command {actions.printable(entry.action)}"
    too_old = here.enrolled_at is not None and found.at < here.enrolled_at - SKEW_SECONDS
    if too_old and not entry.older_enrolments:
        return "it was signed before this device was enrolled"
    now = here.now()
    if now is not None and found.at > now + SKEW_SECONDS:
        return f"it was signed at {_moment(found.at)}, which is still to come"
    return actions.refusal(here.settings, entry.action, entry.args) or here.room()


def _new(here: Here, found: Signature, entry: Entry, reason: str, data: bytes) -> New:
    action, now = actions.find(entry.action), here.now()
    not_after, args = _not_after(found, entry), args_text(entry.args)
    state: State = "refused" if reason else "accepted"
    if not reason and now is not None and now > not_after:
        state, reason = "expired", expired_reason(not_after)
    moment = rfc3339(datetime.now(timezone.utc))
    result = Result(
        id=entry.id,
        state=state,
        action=entry.action,
        nonce=secrets.token_hex(16),
        reason=reason[:_MAX_REASON],
        code=Refused.code if state == "refused" else "",
        accepted=moment,
        ended="" if state == "accepted" else moment,
        signer=found.signer,
    )
    concurrent = action is not None and action.concurrent
    envelope = data if action is not None and action.signed else b""
    mark = mark_of(entry.action, args)
    return New(result, args, mark, found.key, not_after, entry.splay_seconds, concurrent, now or 0.0, envelope)


def expired_reason(not_after: int) -> str:
    return f"it was to be begun before {_moment(not_after)}"


def _moment(seconds: int) -> str:
    """RFC 3339. The calendar ends with the year 9999, and what stands in an entry need not."""
    return rfc3339(datetime.fromtimestamp(min(seconds, 253402300799), timezone.utc))


def ended(result: Result, state: State, reason: str, **more: object) -> Result:
    """``result`` with its end."""
    moment = rfc3339(datetime.now(timezone.utc))
    return msgspec.structs.replace(result, state=state, reason=reason[:_MAX_REASON], ended=moment, **more)
