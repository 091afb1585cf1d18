"""Text of others on a terminal: a device, a hub or whoever signed something must not move the cursor, forge a line or turn its direction."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from edgeagent.errors import EdgeError, SettingsProblem

__all__ = ["harmless", "json_text", "told"]

#: Control and format characters, halves of surrogate pairs, separators of lines and paragraphs.
_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def _does_more_than_show(char: str) -> bool:
    return (not char.isascii() and unicodedata.category(char) in _CATEGORIES) or char < " " or char == "\x7f"


def harmless(text: str) -> str:
    """One line, with a replacement in place of each character that does more than show itself."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _does_more_than_show(char) else char for char in text)


def json_text(value: Any, *, indent: int | None = None, separators: tuple[str, str] | None = None) -> str:
    r"""JSON for people and programs: letters as they are, and ``\uXXXX`` for all that does more than show itself."""
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False)
    if text.isascii() and "\x7f" not in text:
        return text
    # What is left of these stands within strings; the line breaks of the indent are not.
    return "".join(json.dumps(char)[1:-1] if char != "\n" and _does_more_than_show(char) else char for char in text)


def told(error: EdgeError) -> str:
    """The text of an error. Only a list of problems, and the mark below an expression that somebody typed, have lines of their own."""
    if isinstance(error, SettingsProblem):
        return str(
            SettingsProblem(harmless(error.what), [harmless(problem) for problem in error.problems], harmless(error.remedy))
        )
    text, mark = str(error), ""
    if error.what == _FILTER and "\n" in error.remedy:
        text, *marked = text.rsplit("\n", 2)
        mark = "".join(f"\n{harmless(line)}" for line in marked)
    return harmless(text) + mark


#: ``what`` of a mistake in a filter: :data:`edgeagent.cel.expressions.WHAT`, which takes long to load.
_FILTER = "evaluate the filter"
