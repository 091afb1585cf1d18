"""Other values for some of ``hub.toml``'s options, with everything else in the file as a person left it. Pure.

Whoever calls it reads the result again: a value of several lines, which a person may write, is not understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

__all__ = ["edited", "replaced"]

_HEADER = re.compile(r"\s*\[\s*([A-Za-z0-9_.-]+)\s*\]\s*(?:#.*)?\Z")


def edited(text: str, section: str, changes: Mapping[str, object]) -> str:
    """``text`` with other values in a section: their lines are replaced, or added at its beginning; the section at the end."""
    if not changes:
        return text
    lines, rest, at = list[str](), dict(changes), 0
    for inside, line in _lines(text):
        key = line.partition("=")[0].strip()
        if inside == section and not at:
            at = len(lines) + 1
        lines.append(_setting(key, rest.pop(key)) if inside == section and key in rest else line)
    if not at:
        lines += ["", f"[{section}]"]
        at = len(lines)
    return "\n".join([*lines[:at], *(_setting(key, value) for key, value in rest.items()), *lines[at:], ""])


def replaced(text: str, section: str, values: Mapping[str, object]) -> str:
    """``text`` with nothing but ``values`` in a section, which goes to the end; without it when there are none."""
    kept = "\n".join(line for inside, line in _lines(text) if inside != section)
    return edited(kept + "\n", section, values)


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Each line, and the section it is in; a header is in its own."""
    section = ""
    for line in text.splitlines():
        if line.lstrip().startswith("["):
            found = _HEADER.match(line)
            section = found[1] if found else "?"
        yield section, line


def _setting(key: str, value: object) -> str:
    return f"{key} = {msgspec.json.encode(value).decode()}"  # JSON's numbers, strings and lists of them are TOML's too
