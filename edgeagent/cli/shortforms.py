"""``edgeagent exec|logs|reboot``: short forms of ``edgeagent cmd run`` for what hands type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from edgeagent.cli import cmd_board, cmd_send, completion
from edgeagent.cli.cmd_options import DryRun, Everybody, Expires, How, Ids, Max, Note, Splay, Wait, WaitSeconds, Yes
from edgeagent.cli.options import ContextName, Devices, Groups, Labels, Where
from edgeagent.errors import UsageProblem

__all__ = ["add_to"]

AsJson = Annotated[bool, typer.Option("--json", help="As JSON: {id, until, devices}.")]


def add_to(app: typer.Typer) -> None:
    """Make the commands of this module commands of ``app``."""
    app.command("exec", cls=_WithProgram)(exec_)
    app.command()(logs)
    app.command()(reboot)


#: Where the words after ``--`` are kept for the command.
_AFTER = "edgeagent.after"


class _WithProgram(TyperCommand):
    """A command with words of a program after ``--``; click itself forgets where that stood."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        before = args
        if "--" in args:
            mark = args.index("--")
            before, ctx.meta[_AFTER] = args[:mark], args[mark + 1 :]
        try:
            return super().parse_args(ctx, before)
        except Exception as error:  # click's, which typer has within itself or beside it
            if type(error).__name__ == "NoSuchOption" and _AFTER not in ctx.meta:
                vars(error)["message"] += ". Put -- before the program: what follows it is the program's."
            raise


def _parted(words: Sequence[str], after: Sequence[str] | None) -> tuple[Sequence[str], list[str]]:
    """Ids and the program with its words. after: what stood after ``--``; None: there was none, so no id stands there either.

    Raises UsageProblem when there is no program.
    """
    ids, argv = ([], list(words)) if after is None else (words, list(after))
    if not argv:
        raise UsageProblem("run a program", "none is named", "for example `edgeagent exec pi-01 -- /usr/bin/uptime -p`")
    return ids, argv


def exec_(
    line: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ID -- PROGRAM WORD",
            help="Devices, the same as -d; after -- the program, by its absolute path, and its words.",
            autocompletion=completion.devices,
        ),
    ] = None,
    devices: Devices = None,
    groups: Groups = None,
    labels: Labels = None,
    where: Where = "",
    everybody: Everybody = False,
    expires: Expires = None,
    splay: Splay = None,
    most: Max = None,
    yes: Yes = False,
    dry: DryRun = False,
    note: Note = "",
    wait: Wait = None,
    timeout: WaitSeconds = None,
    as_json: AsJson = False,
    context: ContextName = None,
) -> None:
    """Run a program on devices that allow it, and show what it writes, each line with the device's id before it.

    Example: edgeagent exec -l site=berlin -- /usr/bin/uptime -p
    """
    ids, argv = _parted(words or [], line.meta.get(_AFTER))
    how = How(
        devices=[*ids, *(devices or [])],
        groups=groups,
        labels=labels,
        where=where,
        everybody=everybody,
        expires=expires,
        splay=splay,
        most=most,
        yes=yes,
        dry=dry,
        note=note,
        wait=wait,
        timeout=timeout,
        as_json=as_json,
        context=context,
    )
    cmd_send.send("exec", {"argv": argv}, how, lines=cmd_board.Lines())


def logs(
    device_id: Annotated[str, typer.Argument(metavar="ID", help="The device.")],
    unit: Annotated[str, typer.Option("-u", "--unit", help="The unit of systemd, such as nginx.", metavar="UNIT")],
    count: Annotated[int | None, typer.Option("-n", "--lines", help="How many lines; 100 if not given.", min=1)] = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on with what it writes, for an hour at most; Ctrl-C ends it.")
    ] = False,
    expires: Expires = None,
    timeout: WaitSeconds = None,
    as_json: AsJson = False,
    context: ContextName = None,
) -> None:
    """Show the last lines of a unit's journal on a device that allows it.

    Example: edgeagent logs pi-01 -u nginx -n 50
    """
    args: dict[str, Any] = {"unit": unit}
    args |= {"lines": count} if count is not None else {}
    args |= {"follow": True} if follow else {}
    how = How(devices=[device_id], expires=expires, wait=True, ends=follow, timeout=timeout, as_json=as_json, context=context)
    cmd_send.send("logs", args, how, lines=cmd_board.Lines(prefixed=False))


def reboot(
    ids: Ids = None,
    devices: Devices = None,
    groups: Groups = None,
    labels: Labels = None,
    where: Where = "",
    everybody: Everybody = False,
    expires: Expires = None,
    splay: Splay = None,
    most: Max = None,
    yes: Yes = False,
    dry: DryRun = False,
    note: Note = "",
    wait: Wait = None,
    timeout: WaitSeconds = None,
    as_json: AsJson = False,
    context: ContextName = None,
) -> None:
    """Start devices anew that allow it. It succeeded once a device is back with another boot.

    Example: edgeagent reboot -g berlin --splay 10m
    """
    how = How(
        devices=[*(ids or []), *(devices or [])],
        groups=groups,
        labels=labels,
        where=where,
        everybody=everybody,
        expires=expires,
        splay=splay,
        most=most,
        yes=yes,
        dry=dry,
        note=note,
        wait=wait,
        timeout=timeout,
        as_json=as_json,
        context=context,
    )
    cmd_send.send("reboot", {}, how)
