"""The reader of our output may leave first: `edgeagent fleet ls | head -1`. That is no failure, and its exit code is one everywhere.

Loads nothing heavy: every command goes through here.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["READER_LEFT", "Group", "silence"]

#: The exit code then. Who leaves after the last byte is not noticed, and that must not be another code: `set -o pipefail` would fail by
#: chance. What a command did to devices has the code of that, read or not.
READER_LEFT = 0


class Group(TyperGroup):
    """The commands of ``edgeagent``. typer itself would end with 1 when the reader has left."""

    def make_context(self, *words: Any, **more: Any) -> Any:
        """As typer does; some options print in here."""
        with _reader_may_leave():
            return super().make_context(*words, **more)

    def invoke(self, ctx: Any) -> Any:
        """As typer does."""
        with _reader_may_leave():
            return super().invoke(ctx)


@contextlib.contextmanager
def _reader_may_leave() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        silence()
        raise typer.Exit(READER_LEFT) from None


def silence() -> None:
    """Nothing that is still to be written disturbs the end (docs.python.org/3/library/signal.html#note-on-sigpipe)."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # ValueError: it is closed already
            with contextlib.suppress(OSError, ValueError):
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
