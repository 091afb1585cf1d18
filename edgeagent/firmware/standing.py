"""How a board's firmware stands to the newest one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from edgeagent.mcumessages import UPDATES

__all__ = ["standing"]


def standing(firmware: str, newest: str, *, bad: str, actions: Iterable[str]) -> str:
    """In a word or two. bad: the version that it went back from. actions: the commands that it knows; none: it was not heard."""
    known = list(actions)
    if bad:
        return f"went back from {bad}"
    if not firmware or not known:
        return "not known"
    if not any(each.startswith(UPDATES) for each in known):
        return "takes no updates"
    if not newest:
        return "not known"
    mine, its = _key(firmware), _key(newest)
    return "old" if mine < its else "newer" if mine > its else "newest"


def _key(version: str) -> tuple[tuple[int, ...], bool]:
    """To compare by: 0.10 is more than 0.9, and 1.0.0-rc1 less than 1.0.0."""
    head, *rest = re.split(r"[-+]", version, maxsplit=1)
    numbers = [int(each) for each in re.findall(r"[0-9]+", head)]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers), not rest or "+" in version
