"""``edgeagent cmd``: what devices shall do, signed by you; each does it once, also one that comes back later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli import cmd_actions, cmd_board, cmd_ls, cmd_send, running
from edgeagent.cli.cmd_options import DryRun, Everybody, Expires, How, Max, Note, Splay, Wait, WaitSeconds, Yes
from edgeagent.cli.options import ContextName, Devices, Groups, Labels, Where
from edgeagent.cli.table import plain
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet.commandentry import Command

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="What devices shall do.\n\nExample: edgeagent cmd run service.restart unit=nginx -l site=berlin",
)

Id = Annotated[
    str, typer.Argument(metavar="ID", help="Of the command, as `cmd run` and `cmd ls` show it, or how only that begins.")
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON: {id, until, devices}.")]


@app.command()
def run(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="`edgeagent cmd actions` lists them.")],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE...]", help="Its arguments; values as in TOML, or plain text.")
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
    """Have devices do something: those that are online now, the others when they come back, until it expires.

    Example: edgeagent cmd run service.restart unit=nginx -l site=berlin --splay 10m
    """
    from edgeagent.fleet.commandorder import action_of
    from edgeagent.fleet.commandtext import arguments_of

    args = arguments_of(action_of(action), words or [])
    how = How(
        devices=devices,
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
    cmd_send.send(action, args, how)


@app.command()
def cancel(
    command_id: Id,
    note: Note = "",
    context: ContextName = None,
) -> None:
    """Have devices not begin a command any more, and end it where it runs. What has ended stays as it is; if all have, it fails.

    Example: edgeagent cmd cancel 01KAJ8XG4Q2T9V5H3M7R6W1YZE
    """
    from edgeagent.fleet import Fleet

    async def work() -> Command:
        async with Fleet(context) as fleet:
            return await fleet.commands.cancel(command_id, note=note)

    found = running.run(work())
    if found.cancelled_by and found.cancelled:
        typer.echo(f"{plain(found.cancelled_by)} cancelled it before, at {cmd_board.local(found.cancelled)}", err=True)
    typer.echo(
        f"{found.id}: whoever has not ended is told to; `edgeagent cmd show {found.id}` shows what each device says to that"
    )


@app.command()
def retry(
    command_id: Id,
    failed: Annotated[
        bool,
        typer.Option("--failed", help="To the devices where it failed, timed out, expired, gave no answer, or nobody knows."),
    ] = False,
    states: Annotated[
        str, typer.Option("--states", help="To the devices that ended so, such as refused,no_answer.", metavar="STATE,...")
    ] = "",
    expires: Expires = None,
    most: Max = None,
    yes: Yes = False,
    dry: DryRun = False,
    wait: Wait = None,
    timeout: WaitSeconds = None,
    as_json: AsJson = False,
    context: ContextName = None,
) -> None:
    """Send a command once more, as a new one, to devices that it was for: --failed or --states says to which.

    Example: edgeagent cmd retry 01KAJ8XG4Q2T9V5H3M7R6W1YZE --failed
    """
    from edgeagent.fleet.commands import ends_of
    from edgeagent.fleet.commandstatus import TO_RETRY

    if not failed and not states:
        remedy = "`--failed`: to the devices that did not do it; `--states refused`: to those"
        raise UsageProblem("send it again", "it is not said to whom", remedy)
    wanted = ends_of({*(TO_RETRY if failed else ()), *filter(None, states.split(","))})
    how = How(expires=expires, most=most, yes=yes, dry=dry, wait=wait, timeout=timeout, as_json=as_json, context=context)
    cmd_send.send("", {}, how, again=command_id, states=wanted)


for part in (cmd_ls, cmd_actions):
    part.add_to(app)
