"""The commands that typer makes of our functions, made once in a process: always the same, they take longer than most commands do."""

from __future__ import annotations

from functools import cache

import typer.main
import typer.testing

__all__ = ["make_commands_once"]


def make_commands_once() -> None:
    """From now on, for each :class:`typer.Typer` when it is first called."""
    made = cache(typer.main.get_command)
    typer.main.get_command = made  # type: ignore[assignment]  # the same, but for a cache
    typer.testing._get_command = made  # type: ignore[assignment]
