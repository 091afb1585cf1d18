"""``edgeagent config keys``: what there is to configure."""

from __future__ import annotations

import shutil
import sys
import textwrap
import typing
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli.harmless import json_text
from edgeagent.cli.table import Column, Form, emit

if TYPE_CHECKING:
    from edgeagent.config import Key

__all__ = ["add_to", "bounds_of", "type_of"]

_INDENT = "    "
#: In characters; a narrower terminal wraps by itself.
_NARROWEST = 30
_TYPES = {str: "text", bool: "true or false", int: "integer", float: "number"}


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command()(keys)


def keys(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List edgeagent's own keys. With each is what it may be, and when it counts. Keys of your programs are app.PROGRAM.KEY.

    Example: edgeagent config keys --json
    """
    from edgeagent.config import KEYS

    rows = [_row(key) for key in KEYS.values()]
    if as_json:
        print(json_text(rows, indent=2))
        return
    if sys.stdout.isatty():
        print("\n".join(lines(rows, shutil.get_terminal_size().columns)))
        return
    columns = [
        Column("key"),
        Column("type"),
        Column("default", json_text),
        Column("bounds"),
        Column("live", lambda live: "at once" if live else "next start"),
        Column("description"),
    ]
    emit(rows, columns, Form.table)


def lines(rows: Iterable[Mapping[str, Any]], width: int) -> list[str]:
    """For a terminal of ``width`` characters: each key whole, then what it may be and what it is for, below it."""
    found = []
    for row in rows:
        kind = " ".join(filter(None, (row["type"], row["bounds"] and f"({row['bounds']})")))
        counts = "at once" if row["live"] else "at the next start"
        about = f"{kind}; {json_text(row['default'])} if not set; counts {counts}"
        found.append(row["key"])
        for text in (about, row["description"]):
            found += textwrap.wrap(
                text, max(width, _NARROWEST), initial_indent=_INDENT, subsequent_indent=_INDENT, break_on_hyphens=False
            )
    return found


def _row(key: Key) -> dict[str, Any]:
    return {
        "key": key.name,
        "type": type_of(key.hint),
        "default": key.default,
        "bounds": bounds_of(key.hint) or None,
        "live": key.live,
        "description": key.description,
    }


def _plain(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def type_of(hint: Any) -> str:
    """A type as people say it."""
    inner = _plain(hint)
    if typing.get_origin(inner) is typing.Literal:
        return "one of " + ", ".join(str(word) for word in typing.get_args(inner))
    if typing.get_origin(inner) is dict:
        return f"table of {type_of(typing.get_args(inner)[1])}"
    if typing.get_origin(inner) is list:
        return f"list of {type_of(typing.get_args(inner)[0])}"
    return _TYPES.get(inner, str(inner))


def bounds_of(hint: Any) -> str:
    """What a type's value must be besides; empty for nothing."""
    if typing.get_origin(hint) is not Annotated:
        return ""
    found = []
    for meta in typing.get_args(hint)[1:]:
        for word, name in (
            ("at least", "ge"),
            ("more than", "gt"),
            ("at most", "le"),
            ("less than", "lt"),
            ("at most", "max_length"),
        ):
            bound = getattr(meta, name, None)
            if bound is not None:
                found.append(f"{word} {bound:,}{' entries' if name == 'max_length' else ''}")
    return ", ".join(found)
