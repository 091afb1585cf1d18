"""What can be said about a filter without evaluating it, and the facts as it gets them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from edgeagent.cel.names import MACROS, Name, Names, Token, read_names, tokens
from edgeagent.errors import UsageProblem
from edgeagent.wire import MAX_EXPRESSION_BYTES

__all__ = ["FUNCTIONS", "MAX_DEPTH", "WHAT", "check", "check_bounds", "mark", "prepare"]

#: What cannot be done when a filter is no good.
WHAT = "evaluate the filter"
MAX_DEPTH = 32

#: Every function of the engine, and our own ``semver``.
FUNCTIONS = MACROS | {
    *("bytes", "contains", "double", "duration", "dyn", "endsWith", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
    *("getFullYear", "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds", "has", "int", "matches", "semver"),
    *("size", "startsWith", "string", "timestamp", "type", "uint"),
}


def check_bounds(expression: str) -> None:
    """Raise UsageProblem for an expression that is empty, longer than 1024 bytes or nested deeper than 32 brackets."""
    size = len(expression.encode("utf-8", "replace"))
    if not expression.strip():
        raise UsageProblem(WHAT, "it is empty")
    if size > MAX_EXPRESSION_BYTES:
        raise UsageProblem(WHAT, f"it is {size} bytes long, more than {MAX_EXPRESSION_BYTES}")
    depth = _depth(tokens(expression))
    if depth > MAX_DEPTH:
        raise UsageProblem(WHAT, f"its brackets are nested {depth} deep, more than {MAX_DEPTH}")


def _depth(stream: Iterable[Token]) -> int:
    depth = deepest = 0
    for token in stream:
        depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
        deepest = max(deepest, depth)
    return deepest


def check(expression: str, known_fields: Collection[str], *, open_prefixes: Collection[str] = ()) -> None:
    """Raise UsageProblem for a filter that is out of bounds or names a field or function that does not exist.

    known_fields: dotted names; what lies above or below one is known too. open_prefixes: below these (``labels``, ``app``) any
    name goes; so does it below a known field that ends in a dot. Syntax is the engine's business: ``Evaluator.check``.
    """
    check_bounds(expression)
    names = read_names(expression)
    opened = {name.rstrip(".") for name in (*open_prefixes, *(known for known in known_fields if known.endswith(".")))}
    closed = {known for known in known_fields if not known.endswith(".")}
    for name in names.functions:
        if str(name) not in FUNCTIONS:
            raise _unknown("function", name, _close(str(name), FUNCTIONS), expression)
    for name in names.fields:
        if not _is_known(str(name), closed, opened):
            raise _unknown("field", name, _nearest(name, closed, opened), expression)


def _is_known(name: str, closed: Iterable[str], opened: Iterable[str]) -> bool:
    below = any(name == known or name.startswith(f"{known}.") for known in (*closed, *opened))
    return below or any(known.startswith(f"{name}.") for known in (*closed, *opened))


def _nearest(name: Name, closed: Collection[str], opened: Collection[str]) -> list[str]:
    near = _close(str(name), closed)
    roots = _close(name.path[0], opened)
    return near or [".".join((root, *name.path[1:])) for root in roots]


def _close(word: str, known: Collection[str]) -> list[str]:
    import difflib  # only mistakes need it

    return difflib.get_close_matches(word, known, n=1)


def _unknown(kind: str, name: Name, near: list[str], expression: str) -> UsageProblem:
    elsewhere = "`edgeagent fleet fields` lists them:" if kind == "field" else "look at the mark:"
    hint = f"did you mean {near[0]}?" if near else elsewhere
    return UsageProblem(WHAT, f"there is no {kind} {name}", f"{hint}\n{mark(expression, name.at, len(str(name)))}")


def mark(expression: str, at: int, length: int = 1) -> str:
    """The line of the expression that holds offset ``at``, and below it carets under ``length`` characters."""
    begin = expression.rfind("\n", 0, at) + 1
    line = expression[begin:].partition("\n")[0]
    carets = "^" * max(1, min(length, len(line) - (at - begin)))
    return f"  {line}\n  {' ' * (at - begin)}{carets}"


def prepare(facts: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """The facts as the engine gets them: only those whose first part occurs in the expression at all, without nulls (null means
    absent), and such that ``has()`` can always look.

    CEL's ``has(a.b.c)`` asks only for ``c`` and fails where ``a.b`` is absent, so that ``!has(labels.site)`` would not hold on a
    device without labels. So what lies above a tested field is there, if need be as an empty map.
    """
    prepared = {key: _without_null(value) for key, value in facts.items() if key in names.words and value is not None}
    for name in names.tested:
        level: Any = prepared
        for part in name.path[:-1]:
            level = level.setdefault(part, {}) if isinstance(level, dict) else None
    return prepared


def _without_null(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_null(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, (list, tuple)):
        return [_without_null(inner) for inner in value if inner is not None]
    return value
