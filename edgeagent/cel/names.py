"""The names in a filter, read from its tokens (CEL's language definition, "Syntax"). Pure.

The engine's own list of references stops at the first dot, and mixes up fields with names that macros bind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["MACROS", "Name", "Names", "Token", "read_names", "tokens"]

MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "filter", "map"})
_TYPES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
_WORDS = frozenset({"false", "in", "null", "true"})

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<string>
        [bB]?[rR][bB]?(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')
        |[bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|\d*\.\d+(?:[eE][+-]?\d+)?|\d+(?:[eE][+-]?\d+)?[uU]?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>[=!<>]=|&&|\|\||.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    """kind: ``string``, ``number``, ``name`` or ``sign``. at: offset in characters."""

    kind: str
    text: str
    at: int


@dataclass(frozen=True)
class Name:
    """A field or function. path: the field's parts, or the function's one. at: offset in characters."""

    path: tuple[str, ...]
    at: int

    def __str__(self) -> str:
        return ".".join(self.path)


@dataclass
class Names:
    """fields: in the order of writing, without names that macros bind. tested: those that stand alone in ``has()``.
    words: every name in the expression, whatever it stands for."""

    words: frozenset[str]
    fields: list[Name] = field(default_factory=list)
    functions: list[Name] = field(default_factory=list)
    tested: list[Name] = field(default_factory=list)


def tokens(expression: str) -> list[Token]:
    """Everything but white space and comments. A quote that is never closed is a sign."""
    found = (Token(match.lastgroup or "", match[0], match.start()) for match in _TOKEN.finditer(expression))
    return [token for token in found if token.kind != "space"]


def read_names(expression: str) -> Names:
    """The fields and functions in an expression, whether or not it is good CEL."""
    stream, scopes = tokens(expression), [frozenset[str]()]
    names = Names(frozenset(token.text for token in stream if token.kind == "name"))
    for index, token in enumerate(stream):
        if token.text in ("(", "[", "{"):
            scopes.append(scopes[-1] | _bound(stream, index))
        elif token.text in (")", "]", "}") and len(scopes) > 1:
            scopes.pop()
        elif token.kind == "name" and token.text not in _WORDS:
            _read_name(stream, index, scopes[-1], names)
    return names


def _read_name(stream: list[Token], index: int, bound: frozenset[str], names: Names) -> None:
    token = stream[index]
    if _text(stream, index + 1) == "(":
        names.functions.append(Name((token.text,), token.at))
        return
    path, end = _path(stream, index)
    is_type = len(path) == 1 and token.text in _TYPES
    if _text(stream, index - 1) == "." or token.text in bound or is_type:
        return
    names.fields.append(Name(path, token.at))
    if _text(stream, index - 1) == "(" and _text(stream, index - 2) == "has" and _text(stream, end) == ")":
        names.tested.append(names.fields[-1])


def _bound(stream: list[Token], index: int) -> frozenset[str]:
    """The name that a macro's bracket binds: ``x`` in ``.exists(x, ...)``."""
    macro = _text(stream, index - 1) in MACROS and _text(stream, index - 2) == "." and _text(stream, index + 2) == ","
    return frozenset({_text(stream, index + 1)}) if macro else frozenset()


def _path(stream: list[Token], index: int) -> tuple[tuple[str, ...], int]:
    """The parts of ``a.b["c"]`` from ``index`` on, without a method at its end, and the index behind it."""
    parts, end = [stream[index].text], index + 1
    while True:
        if _text(stream, end) == "." and _kind(stream, end + 1) == "name" and _text(stream, end + 2) != "(":
            parts.append(stream[end + 1].text)
            end += 2
        elif _text(stream, end) == "[" and _kind(stream, end + 1) == "string" and _text(stream, end + 2) == "]":
            parts.append(stream[end + 1].text.lstrip("bBrR").strip("\"'"))
            end += 3
        else:
            return tuple(parts), end


def _text(stream: list[Token], index: int) -> str:
    return stream[index].text if 0 <= index < len(stream) else ""


def _kind(stream: list[Token], index: int) -> str:
    return stream[index].kind if index < len(stream) else ""
