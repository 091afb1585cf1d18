"""``exec``: run a program that agent.toml lists, argument by argument, as the user that it names. Off unless agent.toml turns it on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import Meta

from edgeagent.actions import Arguments, Context, Outcome, Transient, action
from edgeagent.builtin.actions._outcome import carried_out
from edgeagent.errors import EdgeError
from edgeagent.patterns.programs import Program, check_file
from edgeagent.settings import Settings

__all__ = ["fits", "matched"]

#: How long an argument may be that a wildcard stands for, in characters: so that no pattern takes long to try.
MAX_WILD = 1024

_Word = Annotated[str, Meta(max_length=4096)]


class Exec(Arguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    argv: Annotated[list[_Word], Meta(description="The program and its arguments.", min_length=1, max_length=64)]
    timeout_seconds: Annotated[float, Meta(description="It is ended when it takes longer.", ge=1, le=3600)] = 600.0


def _refuse(settings: Settings, args: Exec) -> str:
    wanted = [] if settings.exec.enabled else ["`exec.enabled = true`"]
    if matched(args.argv, settings.exec.allow) is None:
        wanted.append("a list in `exec.allow` that fits this program and each of its arguments")
    if os.geteuid() == 0 and not settings.exec.user:
        wanted.append("`exec.user`, since the agent is root")
    return " and ".join(wanted)


@action(
    "exec",
    arguments=Exec,
    description="Run a program that the device lists, without a shell.",
    timeout_seconds=3660,
    dangerous=True,
    refuse=_refuse,
    unit=Transient(named=lambda settings: settings.exec.user),
)
async def run(context: Context, args: Exec) -> Outcome:
    argv = matched(args.argv, context.settings.exec.allow)
    if argv is None or (missing := _refuse(context.settings, args)):
        return Outcome("refused", f"not allowed here: agent.toml would need {missing if argv else '`exec.allow` to list it'}")
    file = context.machine.path(argv[0])
    try:
        check_file(file)
    except EdgeError as error:
        return Outcome("failed", str(error))
    user = context.settings.exec.user
    return await carried_out(context, Program(argv=argv, file=file, user=user, timeout_seconds=args.timeout_seconds))


def matched(argv: Sequence[str], allowed: Iterable[Sequence[str]]) -> tuple[str, ...] | None:
    """What is run for ``argv`` by the first list that fits it as a whole, None when none does.

    A bare name stands for the program of that name in the list, so that nothing is looked for on a path.
    """
    for pattern in allowed:
        program, rest = pattern[0], argv[1:]
        is_it = argv[0] in (program, program.rpartition("/")[2])
        if is_it and len(argv) == len(pattern) and all(map(fits, pattern[1:], rest)):
            return (program, *rest)
    return None


def fits(pattern: str, word: str) -> bool:
    """Whether the word is the pattern, or what it stands for: ``*`` is one or more characters, not beginning with ``-`` (an option) and
    without ``/``. A word with ``*`` in its pattern has nothing in it that is not shown, and is no way up (``..``)."""
    if "*" not in pattern:
        return word == pattern
    if len(word) > MAX_WILD or not word.isprintable() or ".." in word.split("/"):
        return False
    return re.fullmatch("(?!-)[^/]+".join(map(re.escape, pattern.split("*"))), word) is not None
