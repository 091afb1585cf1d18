"""What the agent and a microcontroller say to each other: JSON objects told apart by ``t``, the same over serial and over MQTT. Pure.

Keys are short, because a frame has at most 1,024 bytes (:mod:`edgeagent.bridge.frames`); docs/wire.md explains each. Unknown keys and
unknown messages are ignored, so that firmware and agents of different ages understand each other.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from edgeagent import wire
from edgeagent.sample import Sample

__all__ = [
    "UPDATES",
    "Ack",
    "Act",
    "Command",
    "Configuration",
    "Hello",
    "Hi",
    "Reading",
    "Result",
    "command_in",
    "encode",
    "parse",
    "samples_of",
]

#: Numbers that every JSON reader holds, and a MicroPython small enough for a microcontroller.
MAX_NUMBER = 1 << 53
#: The longest message that is read, in bytes. By wire a frame bounds it; what is answered by MQTT may be longer.
MAX_MESSAGE_BYTES = 128 << 10
#: What one reading may hold, and how long the words are that we keep.
MAX_VALUES, MAX_WORD, MAX_ACTIONS = 64, 64, 32
#: The length of the reason for what it did not do, in characters, and how deep tables may be in what it answers.
MAX_REASON, MAX_DEPTH = 500, 16
#: A reading that is older than this was not measured by a clock that works, in milliseconds.
MAX_AGE_MS = 30 * 86_400_000

#: What the commands begin with by which its firmware is replaced: nobody has a button for them.
UPDATES = "update."

_Value = bool | int | float | str | None


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", omit_defaults=True):
    pass


class Act(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command that it knows.

    sw: the argument that is 1 or 0, for one that switches something on and off; empty: it does not. v: the name of the value among its
    readings that says which of the two it is; empty: none does.
    """

    a: str
    sw: str = ""
    v: str = ""


class Hello(_Message, frozen=True, kw_only=True, tag="hello"):
    """Who it is, said at its start and whenever it hears ``hi``.

    fw, hw: versions of its firmware and of what it runs on. b: random id of this boot, or of the boot whose readings it still keeps.
    seq: the newest reading; o: the oldest that it still has (seq + 1: none), which it has to say. lost: how many of this boot its ring
    dropped. acts: the commands that it knows, each by its name alone if there is no more to say of it. bad: the version of its firmware
    that did not prove itself, so that it went back to this one; empty: none. new: it was started, and has not heard ``hi`` since.
    """

    id: str = ""
    fw: str = ""
    hw: str = ""
    b: str = ""
    seq: int = 0
    o: int = 0
    lost: int = 0
    acts: list[str | Act] = []
    bad: str = ""
    new: bool = False

    @property
    def commands(self) -> list[Act]:
        """The commands that it knows."""
        return [Act(a=each) if isinstance(each, str) else each for each in self.acts]


class Reading(_Message, frozen=True, kw_only=True, tag="r"):
    """What it measured. s: numbers from 1 on without holes, within the boot ``b``. o: the oldest that it still has; 0: not said.

    v: values by name; texts are attributes of the others. a: milliseconds since it was measured, when it is sent.
    """

    b: str
    s: int
    o: int = 0
    v: dict[str, _Value] = {}
    a: float = 0


class Result(_Message, frozen=True, kw_only=True, tag="res"):
    """What became of the command ``id``. v: what it answers. why: it was not done, for this reason."""

    id: str
    ok: bool = True
    v: Any = None
    why: str = ""


class Hi(_Message, frozen=True, kw_only=True, tag="hi"):
    """The agent listens (again): answer with ``hello``, and send what was not acknowledged. u: Unix milliseconds; None: not known."""

    u: int | None = None


class Ack(_Message, frozen=True, kw_only=True, tag="ack"):
    """Every reading of the boot ``b`` up to ``s`` is on disk."""

    b: str
    s: int


class Command(_Message, frozen=True, kw_only=True, tag="cmd"):
    """Do ``a``. It is sent again until there is a result: who has done the command ``id`` answers again and does not do it again."""

    id: str
    a: str
    args: dict[str, Any] = {}


class Configuration(_Message, frozen=True, kw_only=True, tag="cfg"):
    """The whole of what the configuration has for it."""

    v: dict[str, Any] = {}


_sent: msgspec.json.Decoder[Hi | Ack | Command | Configuration] = msgspec.json.Decoder(Hi | Ack | Command | Configuration)
_decoder: msgspec.json.Decoder[Hello | Reading | Result] = msgspec.json.Decoder(Hello | Reading | Result)


def encode(message: Hi | Ack | Command | Configuration | Hello | Reading | Result) -> bytes:
    """As JSON in ASCII: who looks on with a terminal may not read anything else."""
    return json.dumps(msgspec.to_builtins(message), separators=(",", ":")).encode()


def parse(data: bytes) -> Hello | Reading | Result | None:
    """What a microcontroller said; None for a message of another kind. Raises ValueError, which says what is wrong.

    What it says of itself is cut where it is too long; an answer that nobody could read is a failure that says so.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"it has {len(data)} bytes, and {MAX_MESSAGE_BYTES} are read at most")
    try:
        found = _decoder.decode(data)
    except msgspec.ValidationError as error:
        if _is_unknown(data):
            return None
        raise ValueError(str(error).replace("`", "")) from None
    except (RecursionError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None
    if isinstance(found, Result):
        return _usable(found)
    _check(found)
    return _cut(found) if isinstance(found, Hello) else found


def command_in(message: bytes) -> Command | None:
    """The command that a message to a microcontroller is; None: it is another."""
    found = _sent.decode(message)
    return found if isinstance(found, Command) else None


def _is_unknown(data: bytes) -> bool:
    try:
        kind = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).get("t")
    except (ValueError, RecursionError):
        return False
    return kind is not None and bytes(kind).startswith(b'"') and bytes(kind) not in (b'"hello"', b'"r"', b'"res"')


def _usable(found: Result) -> Result:
    """Whatever is done with an answer, it is written as JSON again, by whoever has less stack left."""
    try:
        wire.check_depth({"v": found.v}, "its values", MAX_DEPTH)
    except ValueError as error:
        return Result(id=found.id, ok=False, why=f"its answer can't be used: {error}")
    return msgspec.structs.replace(found, why=found.why[:MAX_REASON])


def _cut(found: Hello) -> Hello:
    words = {name: getattr(found, name)[:MAX_WORD] for name in ("id", "fw", "hw", "bad")}
    acts = [Act(a=each.a[:MAX_WORD], sw=each.sw[:MAX_WORD], v=each.v[:MAX_WORD]) for each in found.commands]
    return msgspec.structs.replace(found, acts=acts, **words)


def _check(found: Hello | Reading) -> None:
    numbers = (found.seq, found.o, found.lost) if isinstance(found, Hello) else (found.s, found.o)
    if not all(0 <= number < MAX_NUMBER for number in numbers):
        raise ValueError("a number in it is negative or too large")
    if len(found.b) > MAX_WORD or not (found.b.isascii() and found.b.isprintable()):
        raise ValueError(f"the boot id is no text of at most {MAX_WORD} printable characters of ASCII")
    if isinstance(found, Reading) and (len(found.v) > MAX_VALUES or not 0 <= found.a <= MAX_AGE_MS):
        raise ValueError(f"it has more than {MAX_VALUES} values, or an age beyond 30 days")
    if isinstance(found, Hello) and len(found.acts) > MAX_ACTIONS:
        raise ValueError(f"it names more than {MAX_ACTIONS} commands")


def samples_of(mcu_id: str, reading: Reading, now: float) -> list[Sample]:
    """The samples of a reading that comes at ``now``, Unix seconds. Raises ValueError when one of them can't be stored."""
    texts = {name: value for name, value in reading.v.items() if isinstance(value, str)}
    time = max(0.0, now - reading.a / 1000)
    return [
        Sample(f"mcu.{name}", int(value) if isinstance(value, bool) else value, {**texts, "mcu": mcu_id}, time)
        for name, value in reading.v.items()
        if isinstance(value, (int, float))
    ]
