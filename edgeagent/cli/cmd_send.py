"""Sending a command from the command line: who would be hit, the question before what is dangerous, and watching it to its end."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import typer

from edgeagent.cli import cmd_board, running
from edgeagent.cli.cmd_options import How
from edgeagent.cli.harmless import json_text
from edgeagent.cli.pipe import silence
from edgeagent.cli.table import Column, Form, bounded, emit, plain
from edgeagent.errors import Failed, Refused, UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.commandorder import Order
    from edgeagent.fleet.commandrun import Running
    from edgeagent.fleet.commandstatus import Row

__all__ = ["Watcher", "end", "send", "watch"]


class Watcher(Protocol):
    """Is shown the rows whenever they change."""

    def update(self, rows: Sequence[Row]) -> None: ...


#: How many ids the question before what is dangerous names.
IDS_SHOWN = 8


class _Sent:
    """What was sent, for whoever presses Ctrl-C. id: empty as long as nothing was."""

    id = ""


def send(
    action: str,
    args: Mapping[str, Any],
    how: How,
    *,
    lines: Watcher | None = None,
    again: str = "",
    states: Iterable[str] | None = None,
    first: Callable[[Fleet], Awaitable[None]] | None = None,
    last: Callable[[Fleet, Row], Awaitable[None]] | None = None,
) -> None:
    """Send it and follow it as ``how`` says; raises typer.Exit with the exit code.

    lines: is shown the rows in place of a table. again: the id of a command that is sent once more to the devices that did not do it; then
    the action and its arguments are that one's. states: those devices are the ones that ended so; None: that did not do it. first: is done before it is sent, once everything was checked and confirmed. last: for each
    device that succeeded.
    """
    sent = _Sent()

    async def work() -> int:
        from edgeagent.fleet import Fleet

        async with Fleet(how.context) as fleet:
            order = await _prepared(fleet, action, args, how, again, states)
            if how.dry:
                _show_order(order, as_json=how.as_json)
                return 0
            _ask(order, how, fleet.login.name)
            if first:
                await first(fleet)
            started = await fleet.commands.send(order.renewed())
            sent.id = started.id
            _say_sent(order, started)
            code = await _followed(started, how, lines)
            if last:
                for row in (await started.results()).values():
                    if row.state == "succeeded":
                        await last(fleet, row)
            return code

    from edgeagent.cli import leaving  # with asyncio, which `--help` does without

    try:
        code = running.run(leaving.unless_left(work()) if how.ends else work())
    except KeyboardInterrupt:
        if not sent.id:
            raise
        _interrupted(sent.id, how)
        raise typer.Exit(130) from None
    except leaving.Left as left:
        leaving.silence()
        if sent.id:
            _interrupted(sent.id, how)
        leaving.silence()
        raise typer.Exit(left.code) from None
    if code:
        raise typer.Exit(code)


def _interrupted(command_id: str, how: How) -> None:
    if not how.ends:
        typer.echo(
            f"\nIt goes on: `edgeagent cmd show {command_id}` shows it, `edgeagent cmd cancel {command_id}` ends it.", err=True
        )
        return

    async def work() -> None:
        from edgeagent.fleet import Fleet

        async with Fleet(how.context) as fleet:
            with contextlib.suppress(Failed):  # it has ended meanwhile
                await fleet.commands.cancel(command_id)

    running.run(work())
    with contextlib.suppress(OSError):  # a terminal that was closed
        typer.echo(f"{command_id} is cancelled", err=True)


async def _prepared(
    fleet: Fleet, action: str, args: Mapping[str, Any], how: How, again: str, states: Iterable[str] | None
) -> Order:
    if not again:
        return await fleet.commands.prepare(action, args, **how.wish())
    command = (await fleet.commands.get(again)).command
    for found in await fleet.commands.retries(command):
        typer.echo(f"{plain(found.by)} has sent it again already, at {cmd_board.local(found.time)}: {found.id}", err=True)
    chosen = {"states": states} if states is not None else {}
    return await fleet.commands.retry(command.id, expires_seconds=how.expires, most=how.most, **chosen)


def _ask(order: Order, how: How, me: str) -> None:
    """Have a person confirm what is dangerous on more than one device, and to repeat what is dangerous or was not ``me``'s."""
    from edgeagent.fleet.commandorder import action_of

    count, action, dangerous = len(order.devices), order.entry.action, action_of(order.entry.action).dangerous
    repeated = order.again is not None and (dangerous or order.again.by != me)
    if how.yes or not (repeated or (count > 1 and dangerous)):
        return
    where = f"{count} device{'' if count == 1 else 's'}"
    if order.again and repeated:
        typer.echo(f"{plain(order.again.by)} gave it: {plain(action)} {json_text(order.entry.args)}", err=True)
    if not sys.stdin.isatty():
        raise UsageProblem(f"{action} on {where}", "nobody is there to confirm it", "say --yes, and --max N for a bound")
    if not _confirmed(_question(order)):
        raise Refused(f"{action} on {where}", "it was not confirmed", "nothing was sent")


def _question(order: Order) -> str:
    from edgeagent.fleet.commandtext import described

    ids = [known.id for known in order.devices]
    named = ", ".join(ids[:IDS_SHOWN]) + (f" and {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else "")
    what = plain(bounded(described(order.entry.action, order.entry.args)))
    away = len(ids) - order.online
    return (
        f"{what}\non {len(ids)} device{'' if len(ids) == 1 else 's'}, {order.online} online and {away} not{_perhaps(order)}: {named}\n"
        f"until {_until(order, cmd_board.local(order.until))}. Send it (--yes does not ask)?"
    )


def _confirmed(question: str) -> bool:
    """Ask. Ctrl-C ends it at once: asyncio would only take note of it until the next thing to wait for."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)


def _until(order: Order, moment: str) -> str:
    """moment: when it is over, as it reads here; a device's own manifest may say sooner."""
    from edgeagent.fleet.commandorder import action_of, has_manifest

    theirs = has_manifest(action_of(order.entry.action))
    return f"{moment}, or sooner as the device's manifest says" if theirs else moment


def _show_order(order: Order, *, as_json: bool) -> None:
    unsure = {known.id for known in order.meant.unsure}
    rows = [{"id": device, "state": str(state), "hit": device not in unsure} for device, state in order.states().items()]
    if as_json:
        print(json_text({"action": order.entry.action, "devices": rows}, indent=2))
        return
    emit(rows, [Column("id"), Column("state"), Column("hit", lambda hit: "yes" if hit else "perhaps")], Form.table)
    typer.echo(f"{_count(order)}; nothing was sent", err=True)


def _count(order: Order) -> str:
    count, online = len(order.devices), order.online
    word = "device" if count == 1 else "devices"
    return f"{order.entry.action} for {count} {word}, {online} online{_perhaps(order)}"


def _perhaps(order: Order) -> str:
    unsure = len(order.meant.unsure)
    return f", {unsure} perhaps (their reports do not tell)" if unsure else ""


def _say_sent(order: Order, started: Running) -> None:
    typer.echo(f"{started.id}: {_count(order)}; until {_until(order, cmd_board.local(started.until))}", err=True)


async def _followed(started: Running, how: How, lines: Watcher | None) -> int:
    wait = how.wait if how.wait is not None else (lines is not None or sys.stdout.isatty())
    if not wait:
        print(cmd_board.as_json(started, list((await started.results()).values())) if how.as_json else started.id)
        return 0
    rows = await watch(started, how.timeout, lines if not how.as_json else None, quiet=how.as_json)
    return end(started, rows, as_json=how.as_json, table=lines is None)


async def watch(started: Running, timeout: float | None, lines: Watcher | None, *, quiet: bool) -> list[Row]:
    """Show the rows as they change until the end, or for ``timeout`` seconds. quiet: nothing on standard output."""
    rows: list[Row] = []
    said = False
    with cmd_board.Board(quiet=quiet or lines is not None) as board:
        async for found in started.progress(timeout):
            rows = found
            (lines or board).update(rows)
            said = said or (lines is not None and _say_absent(rows))
    return rows


def _say_absent(rows: Sequence[Row]) -> bool:
    """Say once whom it waits for when everybody online is done; whether it was said."""
    left = [row for row in rows if row.expected and not row.is_over]
    if not left or any(row.state != "waiting" or str(row.device) == "online" for row in left):
        return False
    ids = ", ".join(row.id for row in left[:5]) + (" and others" if len(left) > 5 else "")
    typer.echo(f"waiting for {ids}, not online; Ctrl-C stops watching", err=True)
    return True


def end(started: Running, rows: Sequence[Row], *, as_json: bool, table: bool = True) -> int:
    """Show what became of it; the exit code that says so."""
    from edgeagent.fleet.commandstatus import exit_code

    code = exit_code(rows)
    try:
        _show_end(started, rows, as_json=as_json, table=table)
    except BrokenPipeError:  # nobody reads it, and yet it is what became of the command
        silence()
    return code


def _show_end(started: Running, rows: Sequence[Row], *, as_json: bool, table: bool) -> None:
    if as_json:
        print(cmd_board.as_json(started, rows))
    elif table:
        cmd_board.show(rows)
        typer.echo(cmd_board.summary(rows), err=True)
    else:
        for row in rows:
            if row.state != "succeeded" or row.reason:
                typer.echo(_said(row), err=True)
    if any(row.expected and not row.is_over for row in rows):
        typer.echo(f"`edgeagent cmd show {started.id}` shows what comes later", err=True)
    sys.stdout.flush()


def _said(row: Row) -> str:
    """How a device ended, below the lines that it wrote: the reason of a failed program would only say these again."""
    if row.state == "failed" and row.result.exit_code is not None:
        return f"{row.id} failed with {row.result.exit_code}"
    return f"{row.id} {plain(row.state)}{f': {plain(cmd_board.with_local_times(row.reason))}' if row.reason else ''}"
