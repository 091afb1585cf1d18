"""Commands as people type and read them: arguments, durations, output as lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from edgeagent.actions import Action, AnyArguments
from edgeagent.errors import UsageProblem
from edgeagent.fleet.configtext import one_value
from edgeagent.sections import check

__all__ = ["Tail", "arguments_of", "seconds_of"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


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
            raise UsageProblem(f"ask for {action.name}", f"{name!r} is there twice")
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
    """``30s``, ``10m``, ``1h`` or ``7d`` in seconds. Raises UsageProblem for anything else."""
    found = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", text.strip())
    if not found:
        raise UsageProblem(f"read {text!r}", "it is no time", "write 30s, 10m, 1h or 7d")
    return float(int(found[1]) * _UNITS[found[2]])


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
