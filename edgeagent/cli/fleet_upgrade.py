"""``edgeagent fleet upgrade``: another version of edgeagent on devices of the fleet."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import cmd_send, running
from edgeagent.cli.bar import bar
from edgeagent.cli.cmd_options import DryRun, Everybody, Expires, How, Max, Note, Splay, Wait, WaitSeconds, Yes
from edgeagent.cli.options import ContextName, Devices, Groups, Labels, Where

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.upgrades import Release

__all__ = ["add_to"]

#: How an action is asked for before its release is there: only whom it would hit counts.
_NOTHING_YET = {"upload": "0" * 32, "pieces": 1, "bytes": 1, "sha256": "0" * 64}


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command()(upgrade)


def upgrade(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Of edgeagent, such as 0.2.0; an older one too.")],
    devices: Devices = None,
    groups: Groups = None,
    labels: Labels = None,
    where: Where = "",
    everybody: Everybody = False,
    wheels: Annotated[
        Path | None,
        typer.Option(
            "--wheels",
            help="Take the wheels from this folder, and not from where pip takes packages.",
            metavar="DIR",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    newest: Annotated[
        bool, typer.Option("--newest", help="Also bring the newest of what edgeagent needs, and not what the devices have.")
    ] = False,
    allow_metered: Annotated[
        bool, typer.Option("--allow-metered", help="Also devices on a link on which every byte costs.")
    ] = False,
    expires: Expires = None,
    splay: Splay = None,
    most: Max = None,
    yes: Yes = False,
    dry: DryRun = False,
    note: Note = "",
    wait: Wait = None,
    timeout: WaitSeconds = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON: {id, until, devices}.")] = False,
    context: ContextName = None,
) -> None:
    """Bring devices to another version of edgeagent. One that does not prove itself on a device is gone back from there.

    The wheels are uploaded to the hub, and a device fetches those that it does not have, so it needs no internet. It is the signed command
    agent.upgrade, good for 7 days, which `commands.allow` in the device's agent.toml has to list.

    Example: edgeagent fleet upgrade 0.2.0 -g berlin --splay 2h
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
    with tempfile.TemporaryDirectory(prefix="edgeagent-release-") as folder:
        release = running.run(_prepared(version, how, Path(folder), wheels, newest=newest))
        _say(release)

        async def upload(fleet: Fleet) -> None:
            with bar(f"upload edgeagent {version}") as progress:
                await fleet.upgrades.upload(release, progress)

        cmd_send.send("agent.upgrade", release.arguments(allow_metered=allow_metered), how, first=upload)


async def _prepared(version: str, how: How, folder: Path, wheels: Path | None, *, newest: bool) -> Release:
    from edgeagent.fleet import Fleet

    async with Fleet(how.context) as fleet:
        args: dict[str, Any] = {**_NOTHING_YET, "version": version}
        order = await fleet.commands.prepare("agent.upgrade", args, **how.wish())
        typer.echo(f"looks for the wheels of edgeagent {version}", err=True)
        return await fleet.upgrades.prepare(version, order, folder, wheels_folder=wheels, newest=newest)


def _say(release: Release) -> None:
    """What goes up, and what each device will fetch."""
    size = sum(source.size for source in release.sources.values())
    typer.echo(
        f"{len(release.sources)} wheels for Python {', '.join(release.manifest.sets)}: {_mb(size)}, of which {_mb(release.to_upload)} are "
        f"not at the hub yet; a device fetches {_mb(release.largest)} at most",
        err=True,
    )
    if release.fetched:
        most = max(release.fetched.values())
        typer.echo(f"of the devices that answer now, each fetches {_mb(most)} at most", err=True)
    if any(" armv" in platform for platform in release.manifest.sets):
        typer.echo("on 32-bit systems nats-server stays as it is: there are no wheels of it", err=True)


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
