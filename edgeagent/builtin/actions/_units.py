"""Names of systemd's units, and which of them a list of agent.toml allows. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

from msgspec import Meta

__all__ = ["Unit", "full", "is_listed"]

#: systemd.unit(5): ASCII letters, digits and ``:-_.\\@``. Never a path, an option, or one of the globs that systemctl itself knows.
Unit = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,254}\Z",
        description="The unit, `.service` where it has no ending.",
        extra={"form": "the name of a unit: letters, digits and any of : _ . @ \\ -, not beginning with one of these but _"},
    ),
]
_ENDINGS = ("service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope")


def full(name: str) -> str:
    """The unit's name, or a pattern of names, with its ending."""
    return name if name.rpartition(".")[2] in _ENDINGS and "." in name else f"{name}.service"


def is_listed(unit: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns fits the whole name."""
    return any(fnmatchcase(full(unit), full(pattern)) for pattern in patterns)
