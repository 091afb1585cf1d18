"""``edgeagent firmware flash``: the firmware onto boards that are plugged in here."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import completion
from edgeagent.cli.table import Column, Form, emit, plain
from edgeagent.errors import EdgeError, UsageProblem

if TYPE_CHECKING:
    from edgeagent.firmware.boards import Board
    from edgeagent.firmware.flash import Wanted
    from edgeagent.firmware.uf2 import Uf2

__all__ = ["add_to"]

#: What comes after a flash, by the way in which the board speaks from then on.
_NEXT = {
    "usb": "`edgeagent mcu ls` on the device that it is plugged into shows it, and how to make it one of yours",
    "mqtt": "It speaks by MQTT now, and needs the cable for power only. `edgeagent mcu ls` on the device that has its login shows it when its"
    " Wi-Fi is up, in half a minute; until then `mpremote connect {port} repl` shows what it prints (Ctrl-X leaves it)",
}


def add_to(app: typer.Typer) -> None:
    app.command("flash")(flash)


def flash(
    port: Annotated[
        str,
        typer.Option(
            "--port",
            help="The board's port; not needed where only one is plugged in.",
            metavar="PORT",
            autocompletion=completion.boards,
        ),
    ] = "",
    everyone: Annotated[bool, typer.Option("--all", help="Every board that is plugged in, one after another.")] = False,
    uf2: Annotated[
        Path | None,
        typer.Option(
            "--uf2", help="Put MicroPython on the board first: its file from micropython.org, or your own.", metavar="FILE"
        ),
    ] = None,
    volume: Annotated[
        Path | None,
        typer.Option("--volume", help="For --uf2: where the board in BOOTSEL mode is mounted, if not found.", metavar="DIR"),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option("--settings", help="The board's settings.json; without it the board keeps what it has.", metavar="FILE"),
    ] = None,
    mqtt: Annotated[
        Path | None,
        typer.Option("--mqtt", help="A login by MQTT: the file that `edgeagent mcu add ID` wrote.", metavar="FILE.env"),
    ] = None,
    lib: Annotated[
        Path | None,
        typer.Option(
            "--lib", help="A folder with modules of your own, such as sensor_tilt.py: they go to its /lib.", metavar="DIR"
        ),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--source", help="A folder with a firmware of your own, which has app/ in it.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Put the firmware on a board by USB, and wait until it says hello. It needs `pip install 'edgeagent[flash]'`.

    It may be repeated at any time: what the board has already is left alone, and what was cut off is completed. A board that hangs is
    interrupted. A new one has no MicroPython yet: hold its BOOTSEL button while you plug it in, and name the file with --uf2.

    Example: edgeagent firmware flash --settings oven.json
    """
    wanted = _wanted(uf2, volume, settings, mqtt, lib, source)
    if everyone and mqtt:
        raise UsageProblem("flash boards", "--mqtt is the login of one, and --all is every board", "flash them one by one")
    targets = _targets(port, wanted, everyone=everyone)
    records, problems = [], []
    for board in targets:
        record, problem = _flash(board, wanted)
        records.append(record)
        problems += [problem] if problem else []
    if len(targets) == 1 and problems and not as_json:
        raise problems[0]
    _show(records, as_json=as_json)
    if problems:
        raise typer.Exit(max(problem.exit_code for problem in problems))


def _wanted(
    uf2: Path | None, volume: Path | None, settings: Path | None, mqtt: Path | None, lib: Path | None, source: Path | None
) -> Wanted:
    """All that is named is read before a board is touched."""
    from edgeagent.firmware import boardsettings, compiling, ownfiles
    from edgeagent.firmware.flash import Wanted
    from edgeagent.firmware.repl import check_installed
    from edgeagent.firmware.source import read, read_root

    check_installed()
    if volume and not uf2:
        raise UsageProblem(
            "flash a board", "--volume is where MicroPython goes, and no file of it is named", "name one with --uf2"
        )
    return Wanted(
        compiling.builds(read(source)),
        read_root(source),
        uf2=_micropython(uf2) if uf2 else None,
        volume=volume,
        settings=boardsettings.read(settings) if settings else None,
        login=boardsettings.read_login(mqtt) if mqtt else None,
        own=ownfiles.read(lib) if lib else {},
    )


def _micropython(path: Path) -> Uf2:
    from edgeagent import files
    from edgeagent.firmware.uf2 import MAX_BYTES, parse

    with contextlib.suppress(OSError):
        if path.stat().st_size > MAX_BYTES:
            raise UsageProblem(f"use {path}", f"it has more than {MAX_BYTES >> 20} MiB, so it is no UF2 file for a board")
    return parse(str(path), files.read_bytes(path))


def _targets(port: str, wanted: Wanted, *, everyone: bool) -> list[Board]:
    """A board in BOOTSEL mode has no port: it is one without a name."""
    from edgeagent.firmware import boards, bootsel
    from edgeagent.machine import Machine

    if wanted.uf2 and not port and not everyone and wanted.volume and bootsel.look(wanted.volume):
        return [boards.Board("")]  # also beside others, which run
    if wanted.uf2 and not port and not boards.found() and (wanted.volume or bootsel.volumes() or bootsel.is_plugged(Machine())):
        return [boards.Board("")]
    return boards.choose(port, everyone=everyone)


def _flash(board: Board, wanted: Wanted) -> tuple[dict[str, Any], EdgeError | None]:
    from dataclasses import asdict

    from edgeagent.firmware.flash import Flashed
    from edgeagent.firmware.flash import flash as put

    flashed, problem = Flashed(board.port, board.serial_number), None
    try:
        with _bar() as progress:
            flashed = put(board, wanted, progress)
    except EdgeError as error:
        problem = error
    state = {"state": "failed" if problem else "flashed", "problem": str(problem or "")}
    return {"id": flashed.serial_number or flashed.port, **asdict(flashed), **state}, problem


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """How far it is, on standard error if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda words, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("looking at it", total=None)
        yield lambda words, done, total: progress.update(task, description=plain(words), completed=done, total=total or None)


def _show(records: list[dict[str, Any]], *, as_json: bool) -> None:
    count = Column("written", lambda names: str(len(names)))
    columns = [Column("port"), Column("serial_number"), Column("board"), Column("micropython"), Column("version"), count]
    emit(records, [*columns, Column("same"), Column("state")], Form.json if as_json else Form.table)
    if as_json:
        return
    for record in records:
        if record["in_image"]:
            typer.echo(
                f"{plain(record['port'])}: {record['in_image']} files of the firmware are in its MicroPython already", err=True
            )
        for note in [*record["notes"], *([record["problem"]] if record["problem"] else [])]:
            typer.echo(f"{plain(record['port'])}: {plain(note)}", err=True)
    for link, port in sorted({record["link"]: record["port"] for record in records if record["state"] == "flashed"}.items()):
        typer.echo(_NEXT[link].format(port=plain(port)), err=True)
