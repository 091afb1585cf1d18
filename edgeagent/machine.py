"""The machine we run on, under one relocatable root, so that every reader of /proc and /sys can be tried off a Pi."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Machine"]


@dataclass(frozen=True)
class Machine:
    """Reads small files below ``root``; what is not there is None, never an error.

    root: the folder that stands for ``/``.
    """

    root: Path = Path("/")

    def path(self, absolute: str) -> Path:
        """Where the file ``absolute`` (beginning with ``/``) is below the root."""
        return self.root / absolute.lstrip("/")

    def text(self, absolute: str) -> str | None:
        """The file's text without trailing NUL bytes and white space, None when it can't be read."""
        try:
            raw = self.path(absolute).read_bytes()
        except OSError:
            return None
        return raw.decode("utf-8", "replace").rstrip("\0\n\t ")

    def integer(self, absolute: str, base: int = 10) -> int | None:
        """The file's text as a number, None when it is none."""
        text = self.text(absolute)
        try:
            return None if text is None else int(text, base)
        except ValueError:
            return None

    @property
    def is_real(self) -> bool:
        """Whether the root is the machine's own: what asks the kernel directly is only then true of it."""
        return self.root == Path("/")
