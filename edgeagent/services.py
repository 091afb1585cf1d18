"""How the hub's services answer a request: with a result, or with an error that keeps its class on the way. Pure."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from edgeagent.errors import Closed, EdgeError, Failed, Refused, StoreFull, Unreachable, UsageProblem
from edgeagent.wire import VERSION, decode, encode

__all__ = ["answer", "refusal", "result"]

T = TypeVar("T")

#: Stable code -> class. What a caller does not know becomes Failed.
_CLASSES: dict[str, type[EdgeError]] = {
    kind.code: kind for kind in (UsageProblem, Refused, Failed, Unreachable, StoreFull, Closed)
}


class _Error(msgspec.Struct, omit_defaults=True):
    code: str
    what: str
    why: str
    remedy: str = ""


class _Answer(msgspec.Struct, omit_defaults=True):
    """result or error, never both."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    error: _Error | None = None
    v: int = VERSION


def answer(outcome: msgspec.Struct | None = None) -> bytes:
    """The answer of a service that did what it was asked for."""
    return encode(_Answer(result=msgspec.Raw(encode(outcome)))) if outcome is not None else encode(_Answer())


def refusal(error: EdgeError) -> bytes:
    """The answer of a service that did not."""
    return encode(_Answer(error=_Error(error.code, error.what, error.why, error.remedy)))


def result(data: bytes, shape: type[T]) -> T:
    """What the service answered, as ``shape`` (``type(None)`` where it only says that it is done). Raises the service's error."""
    read = decode(data, _Answer)
    if read.error is not None:
        raise _CLASSES.get(read.error.code, Failed)(read.error.what, read.error.why, read.error.remedy)
    return decode(bytes(read.result), shape)
