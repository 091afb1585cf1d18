"""Other values for some of ``hub.toml``'s options, with everything else in the file as a person left it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

__all__ = ["edited"]

_SECTION = re.compile(r"^\s*\[")


def edited(text: str, changes: Mapping[str, object]) -> str:
    """``text`` with other values in ``[hub]``: their lines are replaced, or added at its beginning.

    Whoever calls it reads the result again: a value of several lines, which a person may write, is not understood.
    """
    lines, rest, inside = list[str](), dict(changes), False
    for line in text.splitlines():
        if _SECTION.match(line):
            inside = line.split("#")[0].strip() == "[hub]"
        key = line.partition("=")[0].strip()
        if inside and key in rest:
            line = _line(key, rest.pop(key))
        lines.append(line)
    at = next((number for number, line in enumerate(lines, 1) if line.split("#")[0].strip() == "[hub]"), 0)
    added = [_line(key, value) for key, value in rest.items()]
    return "\n".join([*lines[:at], *([] if at else ["[hub]"]), *added, *lines[at:], ""])


def _line(key: str, value: object) -> str:
    return f"{key} = {msgspec.json.encode(value).decode()}"  # JSON's numbers and strings are TOML's too
