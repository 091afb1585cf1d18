"""Commands as people type and read them: arguments, durations, output as lines. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from edgeagent.actions import Action, AnyArguments
from edgeagent.errors import UsageProblem
from edgeagent.fleet.configtext import one_value
from edgeagent.sections import check

__all__ = ["Tail", "arguments_of", "described", "seconds_of"]

#: Of the parts of a time, in their order: days, hours, minutes, seconds.
_UNITS = (86_400, 3600, 60, 1)


def arguments_of(action: Action, words: Iterable[str]) -> dict[str, Any]:
    """``["unit=nginx", "lines=50"]`` as arguments of the types that the action declares. Raises UsageProblem for a word that is none.

    A value is TOML where that fits, or the text itself, so text needs no quotes of its own. Whether they fit is checked elsewhere.
    """
    declared = action.arguments
    types = {} if declared is AnyArguments else {field.encode_name: field.type for field in msgspec.structs.fields(declared)}
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise UsageProblem(
                f"read {word!r}", "it is no key=value", f"`edgeagent cmd actions {action.name}` shows its arguments"
            )
        if name in found:
            raise UsageProblem(f"ask for {action.name}", f"{name!r} is there twice", "say it once; a list is written [1, 2]")
        found[name] = _value(text, types.get(name))
    return found


def _value(text: str, hint: Any) -> Any:
    parsed = one_value(text)
    if parsed is None:
        return text
    if hint is None:
        return parsed
    return text if not check("x", text, hint) else parsed


def seconds_of(text: str) -> float:
    """``30s``, ``10m``, ``1h30m`` or ``7d`` in seconds. Raises UsageProblem for anything else."""
    found = re.fullmatch(r"(?:([0-9]{1,7})d)?(?:([0-9]{1,7})h)?(?:([0-9]{1,7})m)?(?:([0-9]{1,7})s)?", text.strip(), re.ASCII)
    seconds = sum(int(part or 0) * unit for part, unit in zip(found.groups(), _UNITS, strict=True)) if found else 0
    if seconds < 1:
        raise UsageProblem(f"read {text!r}", "it is no time of a second or more", "write 30s, 10m, 1h30m or 7d")
    return float(seconds)


def described(action: str, args: Mapping[str, Any]) -> str:
    """An action with its arguments on one line, as they would be typed: text that would be read as something else is in quotes."""
    return " ".join([action, *(f"{key}={_written(value)}" for key, value in args.items())])


def _written(value: Any) -> str:
    """Text as it is where it reads as itself again; what is long is no number or the like."""
    bare = isinstance(value, str) and re.fullmatch(r"[^\s\"'\\=]+", value) and (len(value) > 100 or one_value(value) is None)
    return value if bare else json.dumps(value, ensure_ascii=False)


class Tail:
    """The lines of one device's output, once each, out of results that hold its end and how much there was in all."""

    def __init__(self) -> None:
        self._shown = 0

    def take(self, output: str, output_bytes: int, *, ended: bool) -> list[str]:
        """The lines that are new. output_bytes: how much there was in all. ended: the last line may lack its end."""
        data = output.encode("utf-8", "replace")
        start = max(0, output_bytes - len(data))
        lost = start - self._shown
        fresh = data if lost > 0 else data[self._shown - start :]
        size = len(fresh) if ended else fresh.rfind(b"\n") + 1
        self._shown = max(self._shown, start + len(data) - len(fresh) + size)
        lines = fresh[:size].decode("utf-8", "replace").split("\n")
        lines = lines[:-1] if lines[-1] == "" else lines
        gap = [f"({lost:,} bytes are not shown)"] if lost > 0 else []
        return gap + [line.removesuffix("\r") for line in lines]
