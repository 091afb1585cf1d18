"""How wide the columns of a table get on a terminal: ids and states are never cut, what is long gives way. Pure."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["fitted"]

#: A column that gives way keeps so many characters, or what it needs if that is less.
LEAST = 6


def fitted(widths: Sequence[int], gives: Sequence[bool], room: int) -> list[int]:
    """The widths of columns that need ``widths``, so that together they fit into ``room`` characters if they can.

    gives: whether the column may get less than it needs. The widest gives way first, so that a short one beside it is not cut.
    """
    found = list(widths)
    over = sum(found) - room
    while over > 0:
        wide = [index for index, may in enumerate(gives) if may and found[index] > LEAST]
        if not wide:
            break
        widest = max(found[index] for index in wide)
        first = [index for index in wide if found[index] == widest]
        below = max([found[index] for index in wide if found[index] < widest], default=LEAST)
        step = max(1, min(widest - max(below, LEAST), over // len(first)))
        for index in first[:over]:
            found[index] -= step
        over = sum(found) - room
    return found
