"""A TOML text of sections, read as frozen, typed values, with everything that is wrong in it said at once.

What may stand in a section is declared elsewhere (:mod:`edgeagent.schema`): as msgspec's Structs, whose ``Meta`` may say a
pattern in words for people: ``extra={"form": "..."}``, and a rule that no pattern can say: ``extra={"rule": function}``, which raises
ValueError that says what is wrong; ``"document"`` is the same for what the file may say, and the hub's configuration may not.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from edgeagent.errors import SettingsProblem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["LIVE", "RESTART", "Section", "check", "names_in", "parse_sections", "unknown"]

#: What the hub's configuration may change (:mod:`edgeagent.config`): at once, or from the next start of the agent on. What is marked
#: with neither is the file's alone: where the hub is, who this device is, and what must not be changed from afar.
#: A key that has ``metered`` besides has that default where ``agent.profile`` is metered.
LIVE, RESTART = {"config": "live"}, {"config": "restart"}

#: How much of a wrong value is quoted, in characters.
MAX_SHOWN = 60

_BOUND = re.compile(r"Expected (?:int|float) (>=|<=|>|<) (\S+)")
_LENGTH = re.compile(r"Expected (str|object|array) of length (>=|<=) (\d+)")
_TYPE = re.compile(r"Expected ([\w |]+), got \w+")
_BOUNDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_TYPES = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "text",
    "object": "a table",
    "array": "a list",
    "int | str": "a whole number or text",
}


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One section of a file."""


def parse_sections(text: str, shapes: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """Read ``text``, each of its sections as its shape: a frozen Struct whose fields all have defaults, or the type of a table of any
    words.

    source: the file that it came from, for the message. Raises SettingsProblem with every problem in it.
    """
    what = f"use the settings in {source}"
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsProblem(what, [f"it is not valid TOML: {error}"], "mend the line and try again") from None
    problems: list[str] = []
    sections = {name: _section(name, shape, tables.get(name, {}), problems) for name, shape in shapes.items()}
    problems += [unknown(name, shapes) for name in tables if name not in shapes]
    if problems:
        raise SettingsProblem(what, problems, "see docs/settings.md for every setting")
    return sections


def names_in(text: str) -> frozenset[str]:
    """``section.key`` of everything in a text that :func:`parse_sections` took."""
    return frozenset(f"{name}.{key}" for name, table in tomllib.loads(text).items() for key in table)


def _section(name: str, shape: Any, table: Any, problems: list[str]) -> Any:
    if get_origin(shape) is Annotated:
        found = check(name, table, shape)
        problems += found
        return {} if found else msgspec.convert(table, shape)
    if not isinstance(table, dict):
        problems.append(f"{name}: write it as a section [{name}] with keys of its own")
        return shape()
    fields = {field.name: field.type for field in msgspec.structs.fields(shape)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in fields:
            problems.append(unknown(f"{name}.{key}", [f"{name}.{field}" for field in fields]))
            continue
        if found := check(f"{name}.{key}", value, fields[key]):
            problems += found
        else:
            values[key] = msgspec.convert(value, fields[key])
    try:
        return shape(**values)
    except ValueError as error:  # the shape's own rules, of what one type can't say
        problems.append(f"{name}.{error}")
        return shape()


def check(name: str, value: Any, hint: Any, rule: str = "rule") -> list[str]:
    """Everything that is wrong with ``value`` as the setting ``name`` of type ``hint``; nothing when it may be so.

    rule: which of the rules that no type can say are looked at, where the type fits: ``rule`` or ``document``.
    """
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        return _problems(name, value, hint)
    parts = ((name, value, hint), *_parts(name, value, hint))
    return [problem for part in parts for problem in _broken_rules(*part, rule)]


def _broken_rules(name: str, value: Any, hint: Any, rule: str) -> list[str]:
    for meta in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        if isinstance(meta, Meta) and meta.extra and rule in meta.extra:
            try:
                meta.extra[rule](value)
            except ValueError as error:
                return [f"{name}: {error}"]
    return []


def _problems(key: str, value: Any, hint: Any) -> list[str]:
    """Everything that is wrong with ``value``. Of a table or a list each bad part, where msgspec would stop at the first."""
    if isinstance(value, dict) and (shape := _shape(hint)) is not None:
        return _table_problems(key, value, shape)
    found = [problem for part in _parts(key, value, hint) for problem in _part_problems(*part)]
    return found or [problem for problem in [_problem(f"{key} = {_shown(value)}", value, hint)] if problem]


def _part_problems(key: str, value: Any, hint: Any) -> list[str]:
    if isinstance(value, dict) and (shape := _shape(hint)) is not None:
        return _table_problems(key.partition(" = ")[0], value, shape)
    problem = _problem(key, value, hint)
    return [problem] if problem else []


def _shape(hint: Any) -> type[msgspec.Struct] | None:
    """What a table within a section looks like, where it is no table of any words."""
    inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return inner if isinstance(inner, type) and issubclass(inner, msgspec.Struct) else None


def _table_problems(key: str, table: dict[str, Any], shape: type[msgspec.Struct]) -> list[str]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    found = [unknown(f"{key}.{word}", [f"{key}.{field}" for field in fields]) for word in table if word not in fields]
    found += [f"{key}.{name}: it must be set" for name, field in fields.items() if field.required and name not in table]
    for name, field in fields.items():
        found += check(f"{key}.{name}", table[name], field.type) if name in table else []
    if not found:
        try:
            msgspec.convert(table, shape)
        except msgspec.ValidationError as error:  # the shape's own rules, of what one type can't say
            found.append(f"{key}.{error}")
    return found


def _shown(value: Any) -> str:
    """The value as it reads, but not so long that what is wrong with it is not seen."""
    text = str(value) if isinstance(value, (date, time)) else repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _parts(key: str, value: Any, hint: Any) -> Iterator[tuple[str, Any, Any]]:
    """``(how to name it, value, type)`` of everything inside ``value``."""
    inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if isinstance(value, dict) and get_origin(inner) is dict:
        word_hint, item_hint = get_args(inner)
        for word, item in value.items():
            yield f"{key}.{word}", word, word_hint
            yield f"{key}.{word} = {_shown(item)}", item, item_hint
    if isinstance(value, list) and get_origin(inner) is list:
        for index, item in enumerate(value):
            yield f"{key}[{index}] = {_shown(item)}", item, get_args(inner)[0]


def _problem(name: str, value: Any, hint: Any) -> str | None:
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        metas = [arg for arg in get_args(hint)[1:] if isinstance(arg, Meta)]
        form = next((meta.extra["form"] for meta in metas if meta.extra and "form" in meta.extra), None)
        return f"{name}: {f'it must be {form}' if form and isinstance(value, str) else _plain(str(error), hint)}"
    return None


def unknown(key: str, known: Iterable[str]) -> str:
    """That there is no such setting, and which one may be meant."""
    import difflib  # only mistakes need it

    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.7)
    return f"{key}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _plain(message: str, hint: Any) -> str:
    """What msgspec says, in words for people."""
    inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    inner = next((choice for choice in get_args(inner) if get_origin(choice) is Literal), inner)  # TOML has no word for None
    if get_origin(inner) is Literal:
        return f"it must be one of {', '.join(repr(choice) if choice == '' else str(choice) for choice in get_args(inner))}"
    text = message.replace("`", "")
    if bound := _BOUND.match(text):
        return f"it must be {_BOUNDS[bound[1]]} {float(bound[2]):.15g}"
    if length := _LENGTH.match(text):
        return f"it may have {_BOUNDS[length[2]]} {length[3]} {'characters' if length[1] == 'str' else 'entries'}"
    if wanted := _TYPE.match(text):
        return f"it must be {_TYPES.get(wanted[1], wanted[1])}"
    return text[0].lower() + text[1:]
