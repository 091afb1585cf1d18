"""A text that is named on the command line: a file, or `-` for standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from edgeagent.errors import UsageProblem

__all__ = ["arguments", "is_json", "named", "read"]


def named(file: str) -> str:
    return "standard input" if file == "-" else file


def read(file: str) -> str:
    """The text. Raises UsageProblem where there is no such file or it is no text, like where it is no TOML; else EdgeError."""
    from edgeagent import files

    what = f"read {named(file)}"
    if file != "-" and Path(file).is_dir():
        raise UsageProblem(what, "it is a folder, not a file", "check the path")
    data = sys.stdin.buffer.read() if file == "-" else files.read_if_there(Path(file))
    if data is None:
        raise UsageProblem(what, "there is no such file", "check the path")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageProblem(what, f"it is not UTF-8 text (byte {error.start})") from None


def is_json(file: str, text: str) -> bool:
    """Else it is TOML."""
    return file.endswith(".json") or text.lstrip().startswith("{")


def arguments(file: str) -> dict[str, Any]:
    """Arguments of a command, by name; so neither `ps` nor the shell's history has them. Raises EdgeError."""
    from edgeagent.fleet import configtext

    text, what = read(file), f"use {named(file)}"
    return configtext.parse_json(text, what) if is_json(file, text) else configtext.parse_toml(text, what)
