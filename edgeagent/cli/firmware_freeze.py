"""``edgeagent firmware freeze``: the firmware's modules, for an image of MicroPython that has them in its flash."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeagent import files
from edgeagent.cli.harmless import json_text
from edgeagent.errors import UsageProblem

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Make the command of this module a command of ``app``."""
    app.command("freeze")(freeze)


def freeze(
    folder: Annotated[Path, typer.Argument(help="Where the modules go: a new folder, or an empty one.", metavar="DIR")],
    source: Annotated[
        Path | None, typer.Option("--source", help="A folder with a firmware of your own, which has app/ in it.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Write the firmware's modules, compiled, for an image of MicroPython of your own that freezes them.

    There they run out of flash, and leave a board's memory to your readings and TLS. `firmware flash` and `firmware update` know of each
    board what its image has, and send the rest. It needs `pip install 'edgeagent[flash]'`.

    Example: edgeagent firmware freeze modules
    """
    from edgeagent.firmware import frozen
    from edgeagent.firmware.source import read

    release = read(source)
    modules = frozen.modules(release)
    _write(folder, modules)
    if as_json:
        print(json_text({"version": release.version, "folder": str(folder), "modules": sorted(modules)}, indent=2))
        return
    size = sum(map(len, modules.values()))
    typer.echo(f"{release.version}: {len(modules)} modules, {size:,} bytes, in {folder}; freeze all of them")


def _write(folder: Path, modules: dict[str, bytes]) -> None:
    """Into a folder with nothing else in it: a module of another version would be frozen too."""
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UsageProblem(f"write modules to {folder}", "there is something in it", "name a new folder")
    except OSError as error:
        raise files.failure(f"look into {folder}", error) from None
    files.make_folder(folder)
    for name, data in modules.items():
        files.write_atomic(folder / name, data)
