"""Samples and messages of whoever has no NATS client: checked as the hub's readers will, and acknowledged when they are on disk."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeagent import localsubjects
from edgeagent.assembly.appclient import Way, connected, is_forbidden, own_login, unless_forbidden
from edgeagent.errors import Refused, Unreachable, UsageProblem
from edgeagent.places import COLLECTORS, is_there
from edgeagent.publish import published
from edgeagent.sample import encode_samples, parse
from edgeagent.subjects import is_token

__all__ = ["AHEAD_SECONDS", "MAX_DATA_BYTES", "ahead", "data_subject", "joined", "payload_of", "put", "sample_subject"]

#: The most that a message may have, as the leaf's stream takes it.
MAX_DATA_BYTES = 512 << 10
#: What is of a later time than this is left out by whoever reads it at the hub (:data:`edgeagent.fleet.leftout.AHEAD`).
AHEAD_SECONDS = 600.0
_WHAT = "put it into the store"
_EXAMPLE = "for example: edgeagent put doors open=3 side=north"


def sample_subject(name: str) -> str:
    """Where samples of ``name`` go: a program's name, and more tokens after a dot. Raises UsageProblem."""
    source = name.partition(".")[0]
    if source in localsubjects.OWN_SOURCES:
        raise UsageProblem(_WHAT, f"the samples of {source!r} are the agent's own", "choose another name")
    return localsubjects.local_metric(_checked(name))


def data_subject(name: str) -> str:
    """The same for messages."""
    return localsubjects.local_data(_checked(name))


def _checked(name: str) -> str:
    if not all(map(is_token, name.split("."))):
        raise UsageProblem(_WHAT, f"{name!r} is no name: words of A-Z, a-z, 0-9, - and _, with dots between them")
    return name


def payload_of(words: Sequence[str]) -> bytes:
    """What the words of a command line say: one number, one JSON object, or ``key=value`` once or more.

    Numbers, ``true`` and ``false`` are samples, other texts are attributes of them; ``time`` is when. Raises UsageProblem.
    """
    if len(words) == 1 and "=" not in words[0].partition("{")[0]:
        if not words[0].lstrip().startswith("{") and not isinstance(_value(words[0]), (int, float)):
            raise UsageProblem(_WHAT, f"{words[0]!r} is no number", f"give one, or key=value, {_EXAMPLE}")
        return words[0].encode("utf-8", "surrogateescape")
    table: dict[str, object] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise UsageProblem(_WHAT, f"{word!r} is no key=value", _EXAMPLE)
        if key in table:
            raise UsageProblem(_WHAT, f"{key} is there twice")
        table[key] = _value(text)
    if not any(isinstance(value, (int, float)) for key, value in table.items() if key != "time"):
        raise UsageProblem(_WHAT, "there is no number in it: a sample is one, or true, or false", _EXAMPLE)
    return msgspec.json.encode(table)


def joined(subject: str, payload: bytes) -> bytes:
    """Of several JSON objects, one a line as programs in collectors.d may write them, one payload; anything else as it is.

    Raises UsageProblem for a line that is none.
    """
    lines = [line for line in payload.splitlines() if line.strip()]
    if len(lines) < 2 or not all(line.lstrip().startswith(b"{") for line in lines) or _is_json(payload):
        return payload
    return encode_samples([sample for line in lines for sample in parse(subject, line)])


def _is_json(payload: bytes) -> bool:
    try:
        msgspec.json.decode(payload)
        return True
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _value(text: str) -> object:
    """A number or truth value of JSON; everything else is the text itself, with what is no UTF-8 in it replaced."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        value = None
    return value if isinstance(value, (bool, int, float)) else text.encode("utf-8", "replace").decode()


async def put(there: Way, subject: str, payload: bytes, *, samples: bool) -> int:
    """Publish it, and return how many samples it has (1 for a message) when it is on disk.

    Raises UsageProblem for what nobody could read or what is too large, Refused when this login may not publish there, Failed when the
    store does not take it, Unreachable when the leaf does not answer.
    """
    count = len(parse(subject, payload)) if samples else 1
    if len(payload) > MAX_DATA_BYTES:
        raise UsageProblem(_WHAT, f"{len(payload)} bytes are too many", f"send at most {MAX_DATA_BYTES} in one message")
    async with connected(there, _WHAT, "put") as client:
        try:
            await unless_forbidden(client, published(client, subject, payload, what=_WHAT))
        except Unreachable as error:
            if is_forbidden(client):
                name = subject.split(".")[2]
                raise Refused(_WHAT, f"this login may not speak as {name!r}", _whose(there, name)) from None
            remedy = "`edgeagent status` says how the agent and its leaf are"
            raise Unreachable(_WHAT, f"the leaf did not acknowledge it ({error.why})", remedy) from None
    return count


def _whose(there: Way, name: str) -> str:
    """What helps whoever may not speak as ``name``."""
    program = (there.settings.collectors_folder if there.settings else COLLECTORS) / name
    if is_there(program):
        return f"{program} is a collector, whose samples the agent writes: choose another name"
    return own_login(there, name)


def ahead(subject: str, payload: bytes, now: float) -> int:
    """How many samples are so far ahead of this machine's clock that nobody at the hub will see them. now: Unix seconds."""
    return sum(sample.time > now + AHEAD_SECONDS for sample in parse(subject, payload))
