"""``NAME.toml`` beside a plugin: what it does, what it takes, how long it may run."""

from __future__ import annotations

import keyword
import math
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgeagent.actions import DAY, HOUR, Arguments
from edgeagent.errors import UsageProblem

__all__ = ["Manifest", "arguments_of", "read"]

_TYPES: dict[str, type] = {"string": str, "integer": int, "number": float, "boolean": bool}
_Seconds = Annotated[float, Meta(gt=0, le=365 * DAY)]


class Argument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One argument. default: None: it must be given. choices: what it may be, empty: anything of the type. minimum, maximum: of a
    number, or of a text's length."""

    type: Literal["string", "integer", "number", "boolean"]
    description: str = ""
    default: Any = None
    choices: list[Any] = []
    minimum: float | None = None
    maximum: float | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file; the fields are those of :class:`edgeagent.actions.Action`. user: who runs it, empty: the agent's own."""

    description: Annotated[str, Meta(min_length=1, max_length=500)]
    arguments: dict[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,62}\Z")], Argument] = {}
    timeout_seconds: _Seconds = 60.0
    default_expiry_seconds: _Seconds = HOUR
    max_expiry_seconds: _Seconds = 7 * DAY
    idempotent: bool = False
    concurrent: bool = False
    dangerous: bool = False
    supersedes: bool = False
    user: Annotated[str, Meta(max_length=64)] = ""


def read(text: str) -> Manifest:
    """The manifest. Raises UsageProblem."""
    try:
        return msgspec.toml.decode(text, type=Manifest)
    except (msgspec.DecodeError, ValueError) as error:
        raise UsageProblem("use the manifest", str(error).replace("`", ""), "docs/actions.md shows one") from None


def arguments_of(manifest: Manifest) -> type[msgspec.Struct]:
    """The type of its arguments. Raises UsageProblem for what can't be meant."""
    try:
        fields = [_field(name, declared) for name, declared in manifest.arguments.items()]
        made = msgspec.defstruct("Arguments", fields, bases=(Arguments,), frozen=True, kw_only=True, forbid_unknown_fields=True)
        msgspec.json.Decoder(made)  # only now msgspec looks at the bounds
    except UsageProblem:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageProblem("use the manifest", str(error)) from None
    return made


def _field(name: str, declared: Argument) -> Any:
    if keyword.iskeyword(name):
        raise UsageProblem("use the manifest", f"arguments.{name}: choose another word, Python keeps that one for itself")
    hint = _hint(declared)
    if declared.default is None:
        return name, hint
    try:
        return name, hint, msgspec.convert(declared.default, hint)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageProblem("use the manifest", f"arguments.{name}.default: {str(error).replace('`', '')}") from None


def _hint(declared: Argument) -> Any:
    kind = _TYPES[declared.type]
    if declared.choices:
        return Literal[tuple(declared.choices)]
    low, high = declared.minimum, declared.maximum
    if kind is bool or (low is None and high is None):
        return kind
    if kind is str:
        return Annotated[str, Meta(min_length=int(low or 0), max_length=None if high is None else int(high))]
    if kind is int:  # msgspec wants bounds of the same type
        low, high = None if low is None else math.ceil(low), None if high is None else math.floor(high)
    return Annotated[kind, Meta(ge=low, le=high)]
