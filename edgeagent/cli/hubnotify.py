"""``edgeagent hub notify``: who is told, and whether it works."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeagent import places
from edgeagent.cli import running
from edgeagent.cli.options import HubDir

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Telling people by webhook.\n\nExample: edgeagent hub notify test")


@app.command()
def test(
    names: Annotated[
        list[str] | None, typer.Argument(help="Webhooks of hub.toml; all of them if not given.", metavar="[NAME]...")
    ] = None,
    folder: HubDir = None,
) -> None:
    """Send a test message to the webhooks in hub.toml, and say what each receiver answered. Exits with 1 when one did not take it.

    Example: edgeagent hub notify test ops
    """
    from edgeagent.assembly.hubnotify import try_out
    from edgeagent.hub.folder import HubFolder

    found = running.run(try_out(HubFolder((folder or places.hub_folder()).absolute()), names or []))
    for trial in found:
        typer.echo(f"{'ok     ' if trial.taken else 'WRONG  '}{trial.name}  {trial.said}")
    if not all(trial.taken for trial in found):
        raise typer.Exit(1)
