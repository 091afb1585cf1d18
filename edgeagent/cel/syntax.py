"""The engine's parser speaks ANTLR; this says the same in plain words, with the place. Pure."""

from __future__ import annotations

import re

from edgeagent.cel.expressions import WHAT, mark
from edgeagent.cel.names import tokens
from edgeagent.errors import UsageProblem

__all__ = ["syntax_problem"]

#: The first of the engine's complaints: line, column (both from 1, in characters) and what ANTLR says.
_COMPLAINT = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")
_QUOTED = re.compile(r"'(.*?)'(?: expecting .*)?$")

#: What people write who come from Python, SQL or the shell, and what CEL calls it.
_OTHER_LANGUAGES = {"and": "&&", "AND": "&&", "or": "||", "OR": "||", "not": "!", "NOT": "!", "=": "==", "&": "&&", "|": "||"}


def syntax_problem(expression: str, message: str) -> UsageProblem:
    """The error to raise for ``message``, which the engine's parser gave for ``expression``."""
    found = _COMPLAINT.search(message.removeprefix(f"Failed to parse expression '{expression}': "))
    if found is None:
        return UsageProblem(WHAT, "it is not CEL", _hint(expression))
    offset = _offset(expression, int(found[1]), int(found[2]))
    why = _plain(found[3], expression, offset)
    return UsageProblem(WHAT, why, f"{_hint(expression)}\n{mark(expression, offset)}")


def _offset(expression: str, line: int, column: int) -> int:
    before = expression.split("\n")[: line - 1]
    return min(len(expression), sum(len(text) + 1 for text in before) + column - 1)


def _plain(complaint: str, expression: str, offset: int) -> str:
    place = f"at character {offset + 1}"
    quoted = _QUOTED.search(complaint)
    text = quoted[1].strip() if quoted else ""
    if complaint.startswith("missing") and text:
        return f"{complaint.split(' at ')[0]} {place}"
    if "ExprContext" in complaint:
        return "it is not complete"
    if offset >= len(expression.rstrip()) or text == "<EOF>":
        return "it ends too early"
    if complaint.startswith("token recognition") and text[:1] in ('"', "'"):
        return f"the text that begins {place} has no closing quote"
    return f"{text!r} is not expected {place}" if text else f"{complaint} {place}"


def _hint(expression: str) -> str:
    for token in tokens(expression):
        if token.kind != "string" and token.text in _OTHER_LANGUAGES:
            return f"write {_OTHER_LANGUAGES[token.text]} for {token.text!r}:"
    return "look at the mark:"
