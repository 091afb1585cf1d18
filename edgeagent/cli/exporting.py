"""Where an export goes, and how far it has come."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Any

import typer

from edgeagent.cli.harmless import harmless
from edgeagent.errors import EdgeError
from edgeagent.files import failure

__all__ = ["Progress", "Target", "counted", "target"]

Target = Annotated[
    Path | None, typer.Option("-O", "--to", help="Write into this file, which is there once it is whole.", metavar="FILE")
]
#: How often progress is shown anew, in seconds; what is done sooner shows none.
SHOW_SECONDS = 0.2


def counted(count: int, noun: str) -> str:
    """``1 sample``, ``1,234 samples``. noun: in the plural, that ends with s."""
    return f"{count:,} {noun if count != 1 else noun[:-1]}"


class _Terminal:
    """Standard output where a person reads: what does more than show itself is replaced. It keeps line breaks."""

    def write(self, text: str) -> None:
        sys.stdout.write("\n".join(map(harmless, text.split("\n"))))


@contextlib.contextmanager
def target(path: Path | None) -> Iterator[Any]:
    """What to write text into. A file gets its name at the end of the block; after an error there is none. Raises EdgeError."""
    if path is None:
        yield _Terminal() if sys.stdout.isatty() else sys.stdout
        sys.stdout.flush()
        return
    unfinished = path.with_name(f"{path.name}.part")
    try:
        file: IO[str] = unfinished.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise failure(f"write {path}", error) from None
    try:
        with _in_our_words(path), file:
            yield file
        with _in_our_words(path):
            unfinished.replace(path)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


@contextlib.contextmanager
def _in_our_words(path: Path) -> Iterator[None]:
    """A full disk is no link that broke: of our own errors, some are OSErrors too."""
    try:
        yield
    except EdgeError:
        raise
    except OSError as error:
        raise failure(f"write {path}", error) from None


class Progress:
    """How much was read, on standard error where that is a terminal; as a context manager it leaves nothing behind.

    noun: what is counted, in the plural. to: where it is written; None: standard output, on a terminal of which it would disturb.
    """

    def __init__(self, noun: str, to: Path | None) -> None:
        self._noun, self._live = noun, sys.stderr.isatty() and (to is not None or not sys.stdout.isatty())
        self._shown, self._begun = 0.0, time.monotonic()
        self.count = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def add_chunk(self, chunk: Any) -> None:
        """chunk: as the hub has stored it."""
        now = time.monotonic()
        if self._live and now - max(self._shown, self._begun) > SHOW_SECONDS:
            self._shown = now
            reached = chunk.time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
            sys.stderr.write(f"\r{self.count:,} {self._noun} so far, of what was stored up to {reached}\x1b[K")
            sys.stderr.flush()

    def summary(self) -> str:
        """For people, at the end."""
        seconds = time.monotonic() - self._begun
        return f"{counted(self.count, self._noun)} in {seconds:.1f} s"
