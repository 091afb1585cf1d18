"""What travels when a device is commanded: entries of a log, and results. Pure; docs/wire.md says the same without Python.

Each scope has one log of numbered entries, each a signed envelope (:mod:`edgeagent.trust.signed`, kind ``command``) whose body is an
:class:`Entry`. A command that is for several scopes stands in several logs under the same id, and runs once.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, Literal, get_args

import msgspec

from edgeagent import wire
from edgeagent.errors import Failed

__all__ = [
    "CANCEL",
    "FINAL",
    "STATES",
    "Entry",
    "Result",
    "State",
    "Target",
    "digest",
    "entry_of",
    "is_final",
    "is_former",
    "is_made_by",
    "new_id",
    "renewed",
]

State = Literal["accepted", "running", "succeeded", "failed", "refused", "expired", "cancelled", "timed_out", "unknown"]
STATES: tuple[State, ...] = get_args(State)
#: States in which a command ends. Nothing follows them.
FINAL: frozenset[State] = frozenset(STATES) - {"accepted", "running"}

#: The action of an entry that cancels the command whose id is in its arguments: ``{"id": ...}``.
CANCEL = "cancel"
#: What an entry may hold; larger ones are refused before they are written, and by devices.
MAX_ENTRY_BYTES = 192 << 10
#: How much of an action's output is kept: its end.
MAX_OUTPUT_BYTES = 64 << 10
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Target(msgspec.Struct, omit_defaults=True):
    """Which devices of the scope are meant; all that is given must hold. Nothing given: every device of the scope.

    devices: their ids. labels: key -> value. where: CEL over the facts; one that a device lacks a field for does not hold.
    """

    devices: list[str] = []
    labels: dict[str, str] = {}
    where: str = ""


class Entry(msgspec.Struct, omit_defaults=True):
    """The body of an entry.

    id: ULID of the command. log: random id of the log, made with its first entry. floor: the lowest number in the log that has not
    expired when this was written. not_after: Unix seconds; later it is not begun any more. splay_seconds: each device waits its own
    part of it before it begins. older_enrolments: also devices that were enrolled after this was signed carry it out.
    """

    id: str
    action: str
    log: str
    floor: int
    not_after: int
    args: dict[str, Any] = {}
    target: Target = msgspec.field(default_factory=Target)
    splay_seconds: float = 0.0
    older_enrolments: bool = False
    note: str = ""
    v: int = wire.VERSION

    def __post_init__(self) -> None:
        wire.check_depth(self.args, "arguments", 16)


class Result(msgspec.Struct, omit_defaults=True):
    """What a device says of a command (subject ``edge.from.<id>.result.<command id>``; the newest counts).

    nonce: random, made when the device accepted the command, and :func:`renewed` at each start of its agent until it begins; a result of
    the same command with one that is not its own or a former one of it is of a life of the device that its store knows nothing of (it was
    rolled back, or it was installed anew). reason: why it ended so, one sentence; mostly empty when it succeeded.
    output: the end of what the action wrote, at most 64 KB; output_bytes: how much it wrote in all. value: what the action answered,
    JSON. accepted, started, ended: RFC 3339, by the device's clock, empty for not yet. signer: who signed the command.
    superseded_by: id of the newer command that made this one needless.
    """

    id: str
    state: State
    action: str = ""
    nonce: str = ""
    reason: str = ""
    code: str = ""
    output: str = ""
    output_bytes: int = 0
    exit_code: int | None = None
    value: Any = None
    accepted: str = ""
    started: str = ""
    ended: str = ""
    signer: str = ""
    superseded_by: str = ""
    v: int = wire.VERSION


def is_final(state: str) -> bool:
    """Whether nothing follows."""
    return state in FINAL


def entry_of(body: bytes) -> Entry:
    """The body of a signed envelope. Raises Failed when it is no entry."""
    try:
        return msgspec.json.decode(body, type=Entry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed("read a command", str(error)) from None


def renewed(nonce: str) -> str:
    """The nonce after one more start of the agent: ``<random>-<how many>-<random>``."""
    first, starts, _ = _parts(nonce)
    return f"{first}-{starts + 1}-{secrets.token_hex(4)}"


def is_former(nonce: str, mine: str) -> bool:
    """Whether ``nonce`` is ``mine``, or one that a store which now has ``mine`` may have had before.

    A store that was put back counts its starts again, and comes to a number that its other life has used: with another end.
    """
    there, here = _parts(nonce), _parts(mine)
    return nonce == mine or (there[0] == here[0] and there[1] < here[1])


def _parts(nonce: str) -> tuple[str, int, str]:
    first, _, rest = nonce.partition("-")
    starts, _, last = rest.partition("-")
    is_number = starts.isascii() and starts.isdigit() and len(starts) < 10
    return first, int(starts) if is_number else 10**9 if rest else 0, last


def digest(envelope: bytes) -> str:
    """By what an entry of a log is known again: SHA-256 of the whole envelope, in hex."""
    return hashlib.sha256(envelope).hexdigest()


def new_id(now: float, key: str) -> str:
    """The id of a command that ``key`` (public user key) is going to sign: a ULID (github.com/ulid/spec), so that ids sort by time. Its
    80 free bits are 40 random ones and 40 of :func:`_bound`, so that nobody else can use it. now: Unix seconds."""
    number = int(now * 1000) << 40 | secrets.randbits(40)
    number = number << 40 | _bound(number, key)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def is_made_by(command_id: str, key: str) -> bool:
    """Whether the id was made for this signer; whoever copies it into a command of its own has another key."""
    number = 0
    for letter in command_id:
        number = number << 5 | max(0, _CROCKFORD.find(letter))
    return number & (1 << 40) - 1 == _bound(number >> 40, key)


def _bound(number: int, key: str) -> int:
    """What ties the first 88 bits of an id to a signer: 40 bits of SHA-256. Few, but nobody can choose a key after having seen the id."""
    return int.from_bytes(hashlib.sha256(f"{number} {key}".encode()).digest()[:5], "big")
