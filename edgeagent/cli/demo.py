"""``edgeagent demo``: a hub and devices on this machine, to see and to try."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeagent.cli import running

__all__ = ["app"]

app = typer.Typer(help="Run a hub and devices on this machine, to see and to try.\n\nExample: edgeagent demo --devices 5")


@app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    devices: Annotated[int, typer.Option("--devices", help="How many devices.", min=1, max=99)] = 3,
    leave: Annotated[bool, typer.Option("--exit", help="End after the story instead of staying up.")] = False,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Keep everything below this folder; a temporary one if not given.", metavar="PATH"),
    ] = None,
) -> None:
    """Run a hub and devices on this machine, to see and to try; Ctrl-C ends it and leaves nothing behind.

    Example: edgeagent demo --devices 5 --dir /tmp/demo
    """
    if context.invoked_subcommand is None:
        from edgeagent.assembly.demo import run

        running.run(run(devices, folder, leave=leave))


@app.command()
def cut(
    device_id: Annotated[str, typer.Argument(metavar="ID")],
    silent: Annotated[
        bool, typer.Option("--silent", help="As a really pulled cable: nobody is told, bytes just vanish.")
    ] = False,
) -> None:
    """Pull the cable of a device of the demo that runs.

    Example: edgeagent demo cut pi-02
    """
    from edgeagent.demo import control

    typer.echo(control.tell({"do": "cut", "id": device_id, "silent": silent}))


@app.command()
def restore(device_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Plug the cable of a device in again.

    Example: edgeagent demo restore pi-02
    """
    from edgeagent.demo import control

    typer.echo(control.tell({"do": "restore", "id": device_id}))


# So that a negative number is a value.
@app.command(context_settings={"ignore_unknown_options": True})
def put(
    device_id: Annotated[str, typer.Argument(metavar="ID")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The program, and more after a dot: oven, oven.left.")],
    words: Annotated[list[str], typer.Argument(metavar="VALUE | KEY=VALUE...")],
) -> None:
    """Store samples as a program on a device of the demo, whether its cable is plugged in or not: `edgeagent put` on a device of your own.

    Example: edgeagent demo put pi-02 oven temperature=180
    """
    from edgeagent.assembly import appclient
    from edgeagent.assembly import put as work
    from edgeagent.demo import control

    way = appclient.way({}, Path(control.tell({"do": "settings", "id": device_id})))
    running.run(work.put(way, work.sample_subject(name), work.payload_of(words), samples=True))
    typer.echo(f"stored on {device_id}")
