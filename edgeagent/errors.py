"""The one tree of errors, and the exit code each of them gives the command line.

A message always has the same three parts: what could not be done, why, and what to do about it. The classes tell apart whose
turn it is: :class:`UsageProblem` (the caller typed something that cannot work), :class:`Refused` (the other side understood and
will not), :class:`Failed` (it was tried and did not work), :class:`Unreachable` (nobody answered) and :class:`Closed` (we closed
it ourselves). The first of them has the exit code 2, and nothing was done then; the others have 1. ``code`` is stable and travels on
the wire; the text is for people and may change.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "Closed",
    "EdgeError",
    "Failed",
    "Incomplete",
    "Refused",
    "SettingsProblem",
    "StoreFull",
    "Unreachable",
    "UsageProblem",
    "as_sentence",
]


def as_sentence(remedy: str) -> str:
    """With a capital letter, unless the first word is a name: ``hub.toml``, ``docs/metrics.md``, ``agent.profile``. remedy: not empty."""
    first = remedy.split(maxsplit=1)[0].rstrip(",;:.")
    return remedy if any(char in "./_=" for char in first) else f"{remedy[0].upper()}{remedy[1:]}"


class EdgeError(Exception):
    """``cannot <what>: <why>`` and, on its own sentence, the remedy.

    what: the thing that was wanted, as an infinitive without "to" (``"read pi-01.creds"``).
    why: the reason, without a full stop.
    remedy: what the reader can do now; empty when there is nothing to do.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, why: str, remedy: str = "") -> None:
        self.what, self.why, self.remedy = what, why, remedy
        super().__init__(f"cannot {what}: {why}" + (f". {as_sentence(remedy)}" if remedy else ""))


class UsageProblem(EdgeError, ValueError):
    """What was asked for cannot be meant: an unknown field, a bad expression, an impossible value, the name of what is not there."""

    code = "usage"
    exit_code = 2


class SettingsProblem(UsageProblem):
    """The settings file cannot be used; every problem in it is in ``problems``, one line each."""

    code = "settings"

    def __init__(self, what: str, problems: list[str], remedy: str = "") -> None:
        self.problems = problems
        lines = "".join(f"\n  - {problem}" for problem in problems)
        Exception.__init__(self, f"cannot {what}:{lines}" + (f"\n{as_sentence(remedy)}" if remedy else ""))
        self.what, self.why, self.remedy = what, "; ".join(problems), remedy


class Refused(EdgeError, PermissionError):
    """Understood and declined: missing rights, wrong credentials, a limit."""

    code = "refused"


class Failed(EdgeError, RuntimeError):
    """Tried, and it did not work."""

    code = "failed"


class Unreachable(EdgeError, ConnectionError):
    """Nobody answered: no hub, no leaf, no process."""

    code = "unreachable"


class StoreFull(Unreachable):
    """The hub answered that its store takes nothing now, for its disk is full: nothing was stored, and it is to be tried again later."""

    code = "store_full"


class Closed(EdgeError, ConnectionError):
    """We closed it ourselves while somebody still wanted something of it."""

    code = "closed"


class Incomplete(EdgeError):
    """An answer came, but not from everyone it was asked of (exit code 3, with ``--strict`` or ``--wait``)."""

    code = "incomplete"
    exit_code = 3
