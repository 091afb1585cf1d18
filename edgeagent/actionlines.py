"""Actions and what others wrote, for a line of the log: bounded, without what is secret or what a terminal obeys. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

import msgspec

__all__ = ["described", "printable"]

#: How long the line for the system's journal may be, in characters.
MAX_LINE = 400

#: Words that say that a value is nobody else's business.
_SECRET = re.compile(r"pass(wd|word|phrase)?|secret|token|credential|api_?-?key|private|\bkey\b", re.IGNORECASE)
#: The same within a value: ``--db-password=hunter2``. Each word is looked at from its beginning only, so that the time it takes grows with
#: the length and not with its square: it runs on the event loop, on what somebody else wrote.
_ASSIGNED = re.compile(r"(?i)(?<![\w.-])(?=[\w.-]*(?:pass|secret|token|credential|api[_-]?key))([\w.-]+[=:]\s*)\S+")


def described(name: str, args: Mapping[str, Any] | msgspec.Struct) -> str:
    """``service.restart unit=nginx``, of the action ``name``, for a line of the system's journal: bounded, one line, nothing in it that a terminal obeys, and
    values whose name says that they are secret left out."""
    values = msgspec.to_builtins(args) if isinstance(args, msgspec.Struct) else dict(args)
    parts = [name, *(f"{key}={_shown(str(key), value)}" for key, value in values.items())]
    return printable(" ".join(parts), MAX_LINE)


def _shown(key: str, value: Any) -> str:
    if _SECRET.search(key) and "=" not in key:
        return "***"
    if isinstance(value, Mapping):
        some = islice(value.items(), MAX_LINE)
        return "{" + " ".join(f"{word}={_shown(str(word), inner)}" for word, inner in some) + "}"
    if isinstance(value, (list, tuple)):
        value = value[:MAX_LINE]
        before = ["", *map(str, value)]  # `--password hunter2` are two words
        return (
            "[" + " ".join(_shown(name if name[:1] == "-" else "", item) for name, item in zip(before, value, strict=False)) + "]"
        )
    return _ASSIGNED.sub(r"\1***", str(value)[:MAX_LINE])  # what is behind is not shown anyway


def printable(text: str, limit: int = 200) -> str:
    """The text with everything escaped that is not shown as itself, cut at ``limit`` characters."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"
