"""``edgeagent mcu logs``: what a microcontroller printed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent import settings
from edgeagent.cli import cmd_board, cmd_send, mcu_names, running
from edgeagent.cli.cmd_options import Expires, How, WaitSeconds
from edgeagent.cli.harmless import harmless
from edgeagent.cli.mcu_names import Name
from edgeagent.cli.options import ContextName, SettingsFile
from edgeagent.errors import UsageProblem
from edgeagent.times import moment

if TYPE_CHECKING:
    from edgeagent.assembly.mcudoor import Line

__all__ = ["add_to"]

#: How many lines there are at most (:data:`edgeagent.patterns.mcu.MAX_LINES`).
MOST = 200


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command()(logs)


def logs(
    target: Name,
    count: Annotated[int, typer.Option("-n", "--lines", help="How many lines at most.", min=1, max=MOST)] = 100,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on with what it prints, until Ctrl-C; on its device only.")
    ] = False,
    expires: Expires = None,
    timeout: WaitSeconds = None,
    context: ContextName = None,
    settings_file: SettingsFile = None,
) -> None:
    """Show what a microcontroller printed lately. The agent keeps its last 200 lines, until it is restarted.

    Of one of the fleet (DEVICE/ID) this is the command mcu.logs, which `commands.allow` in the device's agent.toml has to list.

    Example: edgeagent mcu logs oven --follow
    """
    wanted = mcu_names.named(target)
    if wanted.device:
        if follow:
            remedy = f"`edgeagent mcu logs {wanted.id} --follow` on {wanted.device} does"
            raise UsageProblem(
                f"follow the log of {target}", "a microcontroller of the fleet can't be followed from here", remedy
            )
        how = How(devices=[wanted.device], expires=expires, wait=True, timeout=timeout, context=context)
        cmd_send.send("mcu.logs", {"mcu": wanted.id, "lines": count}, how, lines=cmd_board.Lines(prefixed=False))
        return
    own = settings.load(settings_file)
    if follow:
        _follow(own, wanted.id, count)
    else:
        _show(own, wanted.id, count)


def _show(own: settings.Settings, mcu_id: str, count: int) -> None:
    from edgeagent.assembly.mcuclient import logs as read

    lines = running.run(read(own, mcu_id))
    for line in lines[-count:]:
        _print(line)
    if not lines:
        typer.echo(f"{mcu_id} has printed nothing since the agent started", err=True)


def _follow(own: settings.Settings, mcu_id: str, count: int) -> None:
    from contextlib import aclosing

    from edgeagent.assembly import mcuclient
    from edgeagent.cli import leaving

    async def work() -> None:
        async with aclosing(mcuclient.follow(own, mcu_id, count)) as lines:
            async for line in lines:
                _print(line)

    try:
        running.run(leaving.unless_left(work()))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except leaving.Left as left:
        leaving.silence()
        raise typer.Exit(left.code) from None


def _print(line: Line) -> None:
    if line.missed:
        print(f"({line.missed:,} lines are not shown)")
    print(f"{cmd_board.local(moment(line.time))}  {harmless(line.text)}")
    sys.stdout.flush()
