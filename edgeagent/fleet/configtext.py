"""Configuration as people write it: words of a command line, TOML, JSON. Pure."""

from __future__ import annotations

import datetime
import json
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import tomli_w

from edgeagent import sections
from edgeagent.config import flat, invalid, key_of, nested
from edgeagent.errors import EdgeError, UsageProblem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["assignments", "format_name", "format_toml", "format_value", "one_value", "parse_json", "parse_toml"]

#: Words of a key as they may be set, with dots between them.
_NAME = re.compile(r"[A-Za-z0-9_.-]+\Z")
#: What ``Version.as_dict`` has. None of it is a section of a configuration.
_RECORD = frozenset({"scope", "revision", "generation", "by", "time", "note", "values", "problem"})
_DATES = (datetime.date, datetime.time)


def assignments(words: Iterable[str]) -> dict[str, Any]:
    """``["agent.log_level=debug", "app.doors.open=07:00"]`` as values by dotted name. Raises UsageProblem for a word that is none.

    A value is TOML where that is one and may stand at that key, else the text itself; so text needs no quotes of its own, unless it
    begins like a list or a table: one that was mistyped must not become text unseen.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.strip():
            raise UsageProblem(f"read {word!r}", "it is no key=value", "for example `agent.log_level=debug`")
        if name.strip() in found:
            raise UsageProblem(f"set {name.strip()}", "it is there twice")
        found[name.strip()] = _value(name.strip(), text.strip())
    return found


def _value(name: str, text: str) -> Any:
    parsed = one_value(text)
    if parsed is None and key_of(name) is None:
        _check_is_text(name, text)
    # Of our own keys only those of text take text, and these take it as it is.
    choices = [parsed, text] if key_of(name) is None else [text, parsed]
    fitting = [choice for choice in choices if choice is not None and not _problems(name, choice)]
    if fitting and not (isinstance(parsed, (dict, list)) and fitting[0] == text and key_of(name) is None):
        return fitting[0]
    return text if parsed is None or isinstance(parsed, _DATES) else parsed


def _check_is_text(name: str, text: str) -> None:
    kind = {"[": "list", "{": "table"}.get(text[:1])
    if kind:
        quoted = shlex.quote(f"{name}={format_value(text)}")
        why = f"{text!r} begins like a {kind}, but is no {kind} of TOML"
        raise UsageProblem(f"set {name}", why, f"mend it; if it is meant as text, put it into quotes: {quoted}")


def _problems(name: str, value: Any) -> list[str]:
    try:
        tables = nested({name: value})
    except EdgeError:
        return []
    key = key_of(name)
    if key is None:
        return invalid({"app": {"program": {"key": value}}})
    if key.name == name:
        return sections.check(name, value, key.hint)
    return invalid(tables)


def one_value(text: str) -> Any:
    """The one TOML value that ``text`` is; None when it is none."""
    try:
        found = tomllib.loads(f"x = {text}")
        listed = tomllib.loads(f"x = [{text}]")  # fails where a comment would be dropped
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    return found["x"] if found.keys() == {"x"} and len(listed["x"]) == 1 else None


def parse_toml(text: str, what: str) -> dict[str, Any]:
    """The tables of a whole document. what: as for :class:`EdgeError`. Raises UsageProblem saying in which line it is no TOML."""
    try:
        found: dict[str, Any] = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageProblem(what, f"it is not valid TOML: {error}", "mend the line and try again") from None
    return found


def parse_json(text: str, what: str) -> dict[str, Any]:
    """The same of JSON: the tables, or what `edgeagent config get --json` prints, of which the values count."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageProblem(what, f"it is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise UsageProblem(what, "it must be a JSON object of sections")
    return _values(found, what) if {"scope", "values"} <= found.keys() <= _RECORD else found


def _values(record: dict[str, Any], what: str) -> dict[str, Any]:
    """record: a document as ``Version.as_dict`` has it."""
    values = record["values"]
    if record.get("problem") or not isinstance(values, dict):
        raise UsageProblem(what, f"it is a document that makes no sense ({record.get('problem') or 'its values are no table'})")
    return values


def format_toml(values: Mapping[str, Any]) -> str:
    """The tables as TOML that reads back as the same. Characters that would play tricks with a terminal are escaped."""
    return _escaped(tomli_w.dumps(nested(flat(values))))


def format_value(value: Any) -> str:
    """One value as it stands in TOML, on one line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(word)} = {format_value(item)}" for word, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(format_value(item) for item in value)}]"
    return _escaped(tomli_w.dumps({"x": value}).removeprefix("x = ").rstrip("\n"))


def format_name(name: str) -> str:
    """A dotted name; one that nobody can have meant as a string of TOML, so that it can't be taken for more than a name."""
    return name if _NAME.match(name) else format_value(name)


def _key(word: str) -> str:
    """A key, quoted if TOML needs it."""
    return _escaped(tomli_w.dumps({word: 0}).removesuffix(" = 0\n"))


def _escaped(text: str) -> str:
    # Inside a string of TOML an escape is the same character; outside of strings there are none of these.
    return "".join(
        f"\\U{ord(char):08x}" if char != "\n" and unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") else char
        for char in text
    )
