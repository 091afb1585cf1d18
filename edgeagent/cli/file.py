"""``edgeagent file push|pull``: files to devices, and from a device."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import cmd_send, running
from edgeagent.cli.bar import bar
from edgeagent.cli.cmd_options import DryRun, Everybody, Expires, How, Max, Note, Splay, Wait, WaitSeconds, Yes
from edgeagent.cli.options import ContextName, Devices, Groups, Labels, Where
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Files to devices, and from a device.\n\nExample: edgeagent file push menu.json -g berlin --to /srv/shop/menu.json",
)

AsJson = Annotated[bool, typer.Option("--json", help="As JSON: {id, until, devices}.")]


@app.command()
def push(
    local: Annotated[Path, typer.Argument(metavar="LOCAL", help="The file.")],
    to: Annotated[
        str, typer.Option("--to", help="Its absolute path on the devices, in a folder that they allow.", metavar="PATH")
    ],
    mode: Annotated[
        str, typer.Option("--mode", help="Its permissions there; those of the file that it replaces, else 644.", metavar="600")
    ] = "",
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
    """Upload a file, and have devices that allow it put it in its place. Devices that are away fetch it when they are back.

    Example: edgeagent file push menu.json -g berlin --to /srv/shop/menu.json
    """
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
    source = running.run(_source(local))

    async def upload(fleet: Fleet) -> None:
        with bar(f"upload {local.name}") as progress:
            await fleet.files.upload(source, progress)

    cmd_send.send("file.push", source.arguments(to, mode), how, first=upload)


async def _source(local: Path) -> Any:
    from edgeagent.fleet import filesource

    return await filesource.read(local)


@app.command()
def pull(
    device_id: Annotated[str, typer.Argument(metavar="ID", help="The device.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="The file's absolute path there, in a folder that it allows.")],
    local: Annotated[
        Path, typer.Argument(metavar="[LOCAL]", help="Where it goes: a file, a folder, or - for standard output.")
    ] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    expires: Expires = None,
    note: Note = "",
    timeout: WaitSeconds = None,
    context: ContextName = None,
) -> None:
    """Fetch a file from a device that allows it. It waits for the device; Ctrl-C takes the command back.

    Example: edgeagent file pull pi-01 /var/log/shop/till.log
    """
    how = How(devices=[device_id], expires=expires, note=note, wait=True, ends=True, timeout=timeout, context=context)
    to_stdout = local == Path("-")
    if to_stdout and sys.stdout.isatty():
        raise UsageProblem("write a file to the terminal", "it may be anything", "name a file, or send it on with | or >")
    target = None if to_stdout else _target(local, path, force=force)

    async def fetched(fleet: Fleet, row: Any) -> None:
        with bar(f"fetch {path.rpartition('/')[2]}") as progress:
            download = await fleet.files.fetch(row, progress)
        with download:
            if target is None:
                download.copy_to(sys.stdout.buffer)
                sys.stdout.flush()
            else:
                download.write_to(target, overwrite=force)
                typer.echo(f"{target}: {download.found.bytes:,} bytes", err=True)

    cmd_send.send("file.pull", {"path": path}, how, lines=_Quiet(), last=fetched)


def _target(local: Path, path: str, *, force: bool) -> Path:
    from edgeagent.fleet.files import local_target

    return local_target(local, path, overwrite=force)


class _Quiet:
    """Shows nothing of what the device writes: what is wanted is the file."""

    def update(self, rows: Any) -> None:
        pass
