"""What a value of configuration may look like, whatever it is for: the same in TOML and JSON, and named by a path without doubt. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgeagent.subjects import ID_RULE, is_id

__all__ = ["form_problems", "own_problems"]

_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_WORD_RULE = "1 to 64 of A-Z, a-z, 0-9, '_' and '-'"
_INT64 = range(-(1 << 63), 1 << 63)


def form_problems(name: str, value: Any) -> list[str]:
    """What is wrong with the form of ``value``, which is called ``name`` (empty: the whole document)."""
    if isinstance(value, Mapping):
        head = f"{name}." if name else ""
        named = [f"{head}{word}: a key is {_WORD_RULE}" for word in value if not _WORD.match(str(word))]
        return named + [problem for word, item in value.items() for problem in form_problems(f"{head}{word}", item)]
    if isinstance(value, list):
        return [problem for index, item in enumerate(value) for problem in form_problems(f"{name}[{index}]", item)]
    if isinstance(value, (bool, str)):
        return []
    if isinstance(value, int):
        return [] if value in _INT64 else [f"{name}: {value} does not fit into 64 bits"]
    if isinstance(value, float):
        return [] if value - value == 0 else [f"{name}: {value} is no number that JSON has"]
    return [f"{name}: it must be text, a number, true or false, a list or a table; write a date as text"]


def own_problems(name: str, tables: Any, kind: str) -> list[str]:
    """What is wrong with the tables of the user's own programs (or whatever ``kind`` is), which are all called ``name`` together."""
    if not isinstance(tables, Mapping):
        return [f"{name}: it must be a table of {kind}s, each a table of its own"]
    problems = []
    for each, table in tables.items():
        if not is_id(str(each)):
            problems.append(f"{name}.{each}: a {kind}'s name is {ID_RULE}")
        elif not isinstance(table, Mapping):
            problems.append(f"{name}.{each}: it must be a table")
    return problems
