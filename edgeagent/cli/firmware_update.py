"""``edgeagent firmware update``: bring microcontrollers to another version of their firmware, here or across the fleet."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent import settings
from edgeagent.cli import cmd_send, mcu_names, running
from edgeagent.cli.bar import bar
from edgeagent.cli.cmd_options import DryRun, Everybody, Expires, How, Max, Note, Splay, Wait, WaitSeconds, Yes
from edgeagent.cli.harmless import json_text
from edgeagent.cli.mcu_names import Name
from edgeagent.cli.mcu_send import having
from edgeagent.cli.options import ContextName, Devices, Groups, Labels, SettingsFile, Where
from edgeagent.cli.table import plain
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.firmware.release import Builds
    from edgeagent.fleet import Fleet
    from edgeagent.patterns.mcuupdate import Progress, Updated

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command()(update)


def update(
    target: Name,
    source: Annotated[
        Path | None,
        typer.Option("--source", help="A folder with a firmware of your own, which has app/ in it.", metavar="DIR"),
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
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    context: ContextName = None,
    settings_file: SettingsFile = None,
) -> None:
    """Bring a microcontroller to the firmware that this edgeagent has, and wait until it has proved itself there.

    Only what has changed is sent. A version that does not start, hangs, or loses its agent goes back to the one before by itself. ID is one
    on this device; DEVICE/ID, or ID with -g, -l, --where or --all, is the signed command mcu.update, which `commands.allow` in the
    device's agent.toml has to list.

    Example: edgeagent firmware update pi-01/oven
    """
    wanted = mcu_names.named(target)
    how = How(
        devices=[*([wanted.device] if wanted.device else []), *(devices or [])],
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
    if how.devices or groups or labels or where or everybody:
        _from_afar(wanted.id, _builds(source), having(wanted.id, how))
        return
    if context or expires or splay or most or dry or note or timeout or wait is False:
        remedy = "name it as DEVICE/ID, or devices with -g, -l, --where or --all"
        raise UsageProblem(f"update {wanted.id}", "these options are for one of the fleet, and no device is named", remedy)
    _here(settings.load(settings_file), wanted.id, _builds(source), as_json=as_json)


def _builds(source: Path | None) -> Builds:
    from edgeagent.firmware.compiling import builds
    from edgeagent.firmware.source import read

    return builds(read(source))


# ---- on this device ----


def _here(wanted: settings.Settings, mcu_id: str, builds: Builds, *, as_json: bool) -> None:
    async def work() -> Updated:
        from edgeagent.assembly.mcuclient import orders
        from edgeagent.patterns.mcuupdate import update as updated

        with _progress(mcu_id) as progress:
            async with orders(wanted, mcu_id, f"update {mcu_id}") as order:
                return await updated(mcu_id, order, builds, progress)

    found = running.run(work())
    if as_json:
        print(json_text({"mcu": mcu_id, **found._asdict()}, indent=2))
    elif found.unchanged:
        print(f"{mcu_id}: it runs {plain(found.version)} already")
    else:
        print(f"{mcu_id}: {plain(found.before)} -> {plain(found.version)}, {found.sent:,} bytes sent")


@contextmanager
def _progress(mcu_id: str) -> Iterator[Callable[[Progress], None]]:
    with bar(f"update {mcu_id}") as show:
        stages: list[str] = []

        def told(progress: Progress) -> None:
            show(progress.done, progress.size)
            if progress.stage == "trying" and progress.stage not in stages:
                typer.echo(f"{mcu_id}: it has all of it, and has to prove itself now: a minute, or its confirm_seconds", err=True)
            stages[:] = [progress.stage]

        yield told


# ---- of the fleet ----


def _from_afar(mcu_id: str, builds: Builds, how: How) -> None:
    from edgeagent.firmware.release import SOURCE, pack

    version = builds[SOURCE].version
    with tempfile.TemporaryDirectory(prefix="edgeagent-firmware-") as folder:
        packed = Path(folder) / f"firmware-{version}.tar"
        packed.write_bytes(pack(builds))
        source = running.run(_source(packed))

        async def upload(fleet: Fleet) -> None:
            with bar(f"upload {packed.name}") as progress:
                await fleet.files.upload(source, progress)

        cmd_send.send("mcu.update", {**source.uploaded(), "mcu": mcu_id, "version": version}, how, first=upload)


async def _source(packed: Path) -> Any:
    from edgeagent.fleet import filesource

    return await filesource.read(packed)
