"""The rules of claim tokens: which can be made, whom each lets in, and as what. Pure.

The token itself is a bearer JWT that lives longer than what is kept of it here, so that it is this side, by the hub's clock, that
says "expired", in words that a person at the device can read.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from edgeagent import subjects
from edgeagent.enrolment import NO_ID, Claim
from edgeagent.errors import Refused, UsageProblem
from edgeagent.hub import boards as lists
from edgeagent.tokens import Board, Token, TokenRow, TokenWanted

__all__ = [
    "GRACE_SECONDS",
    "MAX_SECONDS",
    "MAX_USES",
    "Place",
    "State",
    "check_wanted",
    "counted",
    "is_over",
    "is_token_id",
    "made",
    "new_id",
    "place",
    "released",
    "row",
    "settled",
    "state",
]

MAX_USES = 1000
#: A token is a secret that lies about in images and chats: a year is long.
MIN_SECONDS, MAX_SECONDS = 60, 366 * 86_400
#: How much longer than the token its JWT lives, in seconds. Later the server refuses it, and the record may go.
GRACE_SECONDS = 30 * 86_400
MAX_GROUPS = MAX_LABELS = 32
MAX_NOTE_CHARACTERS = 200

#: 60 random bits; the JWT's signature is the secret, this is only its name.
_ID = re.compile(r"[a-z2-7]{12}\Z")

State = Literal["ready", "used up", "expired", "revoked"]

WHAT = "enrol this device"
_ANOTHER = "ask whoever runs the hub for another: `edgeagent token create`"


class Place(NamedTuple):
    """What a claim is given.

    again: the same key has claimed before, so nothing is counted a second time. settled: and it was let in, to the end.
    """

    device: str
    groups: list[str]
    labels: dict[str, str]
    again: bool
    settled: bool


def new_id() -> str:
    """12 random characters of a-z and 2-7."""
    return base64.b32encode(secrets.token_bytes(8)).decode().lower()[:12]


def is_token_id(text: str) -> bool:
    return _ID.match(text) is not None


def check_wanted(wanted: TokenWanted) -> None:
    """Raise UsageProblem unless such a token can be made."""
    problems = [*_limits(wanted), *_contradictions(wanted), *_bad_names(wanted)]
    if wanted.boards:
        problems += lists.problems_of([(f"board {number}: ", board) for number, board in enumerate(wanted.boards, start=1)])
    if problems:
        raise UsageProblem("make a token", "; ".join(problems))


def _limits(wanted: TokenWanted) -> Iterator[str]:
    if not 1 <= wanted.uses <= MAX_USES:
        yield f"it can be used 1 to {MAX_USES} times"
    if not MIN_SECONDS <= wanted.expires_in_seconds <= MAX_SECONDS:
        yield "it can be good for a minute to a year"
    if len(wanted.groups) > MAX_GROUPS or len(wanted.labels) > MAX_LABELS:
        yield f"{MAX_GROUPS} groups and {MAX_LABELS} labels are the most"
    if wanted.id and not is_token_id(wanted.id):
        yield "its id is 12 of a-z and 2-7"
    if len(wanted.note) > MAX_NOTE_CHARACTERS or not (wanted.note.isprintable()):
        yield f"a note is one line of {MAX_NOTE_CHARACTERS} characters at most"


def _contradictions(wanted: TokenWanted) -> Iterator[str]:
    if wanted.boards and (wanted.device or wanted.replaces or wanted.uses != 1):
        yield "a list of boards says itself which devices, and how many"
    if (wanted.device or wanted.replaces) and wanted.uses != 1:
        yield "a token for one device is used once"
    if wanted.replaces and wanted.device not in ("", wanted.replaces):
        yield "the board that replaces another gets its id"
    if wanted.replaces and (wanted.groups or wanted.labels):
        yield "the board that replaces another gets its groups and labels"


def _bad_names(wanted: TokenWanted) -> Iterator[str]:
    for device in filter(None, (wanted.device, wanted.replaces)):
        if not subjects.is_id(device):
            yield f"{device!r} is no device id: {subjects.ID_RULE}"
        elif device == subjects.HUB:
            yield "no device may be called hub"
    yield from (f"{group!r} is no group name: {subjects.ID_RULE}" for group in wanted.groups if not subjects.is_id(group))
    yield from lists.label_problems(wanted.labels)


def made(token_id: str, wanted: TokenWanted, by: str, now: float, key: str = "") -> Token:
    """The record of a new token. by: the administrator. now: Unix seconds. key: the public key of its JWT."""
    return Token(
        id=token_id,
        key=key,
        created_at=int(now),
        expires_at=int(now + wanted.expires_in_seconds),
        created_by=by,
        note=wanted.note,
        uses=len(wanted.boards) or wanted.uses,
        groups=list(dict.fromkeys(wanted.groups)),
        labels=wanted.labels,
        device="" if wanted.replaces else wanted.device,
        replaces=wanted.replaces,
        boards=len(wanted.boards),
    )


def state(token: Token, now: float) -> State:
    """What `token ls` says of it."""
    if token.revoked:
        return "revoked"
    if len(token.used) >= token.uses:
        return "used up"
    return "expired" if now >= token.expires_at else "ready"


def is_over(token: Token, now: float) -> bool:
    """Whether it lets nobody in any more, whom it has not let in, to the end, already."""
    return not token.pending and state(token, now) != "ready"


def row(token: Token, now: float) -> TokenRow:
    """The token as it is listed, without whom it let in."""
    return TokenRow(
        id=token.id,
        state=state(token, now),
        used=len(token.used),
        left=max(0, token.uses - len(token.used)),
        created_at=token.created_at,
        expires_at=token.expires_at,
        created_by=token.created_by,
        note=token.note,
        groups=token.groups,
        labels=token.labels,
        device=token.device,
        replaces=token.replaces,
        boards=token.boards,
    )


def place(token: Token | None, claim: Claim, boards: Sequence[Board], now: float) -> Place:
    """What ``claim`` gets with ``token``. Raises Refused with one sentence for the person at the device.

    token: None: the hub has none of that id. boards: the token's list.
    The token's state is looked at first, so that one which is no longer good tells nothing else. Only the key that it has let in
    already is answered as before, even when the token has ended since: the answer may have been lost on the way.
    """
    if token is None:
        raise Refused(WHAT, "the hub does not know this token", _ANOTHER)
    if token.revoked:
        raise Refused(WHAT, "this token was revoked", _ANOTHER)
    again = claim.key in token.used
    if not again:
        _check_open(token, now)
    device, groups, labels = _given(token, claim, boards)
    if again and token.used[claim.key] != device:
        raise Refused(WHAT, f"it was enrolled with this token as {token.used[claim.key]} before", "leave out the id")
    if not again and token.boards and device in token.used.values():
        raise Refused(
            WHAT, f"the token was used for {device} before", f"`edgeagent token create --replaces {device}` lets a new board in"
        )
    return Place(device, groups, labels, again, again and claim.key not in token.pending)


def _check_open(token: Token, now: float) -> None:
    is_so = state(token, now)
    if is_so == "used up":
        raise Refused(WHAT, "this token is used up", _ANOTHER)
    if is_so == "expired":
        raise Refused(WHAT, "this token has expired", _ANOTHER)


def _given(token: Token, claim: Claim, boards: Sequence[Board]) -> tuple[str, list[str], dict[str, str]]:
    """Id, groups and labels."""
    fixed = token.device or token.replaces
    if token.boards:
        board = lists.board_of(boards, claim.serial, claim.macs, WHAT)
        _check_wish(claim.device, board.id)
        return board.id, list(dict.fromkeys([*token.groups, *board.groups])), {**token.labels, **board.labels}
    if fixed:
        _check_wish(claim.device, fixed)
    return _usable(fixed or claim.device or token.used.get(claim.key, "")), token.groups, token.labels


def _check_wish(wish: str, given: str) -> None:
    if wish not in ("", given):
        raise Refused(WHAT, f"wrong id: the token is for {given}, not for {wish}", "leave out the id, or use another token")


def _usable(device: str) -> str:
    if not device:
        raise Refused(WHAT, f"{NO_ID}, and the device none either", "choose one with --id")
    if device == subjects.HUB:
        raise Refused(WHAT, "no device may be called hub", "choose another id with --id")
    if not subjects.is_id(device):
        raise Refused(WHAT, f"{device!r} is no device id: {subjects.ID_RULE}", "choose another with --id")
    return device


def counted(token: Token, key: str, device: str) -> Token:
    """The record once the device of ``key`` may come in as ``device``."""
    return msgspec.structs.replace(token, used={**token.used, key: device}, pending=[*token.pending, key])


def settled(token: Token, key: str) -> Token:
    """The record once the device of ``key`` is registered. Should it be forgotten or replaced, this token lets it in no more."""
    return msgspec.structs.replace(token, pending=[other for other in token.pending if other != key])


def released(token: Token, key: str) -> Token:
    """The record without the use of ``key``, which could not be let in after all."""
    used = {other: device for other, device in token.used.items() if other != key}
    return settled(msgspec.structs.replace(token, used=used), key)
