"""``edgeagent device``: add devices to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeagent import places
from edgeagent.cli import running
from edgeagent.cli.options import HubDir

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Add devices to the hub.\n\nExample: edgeagent device add pi-01 --groups berlin")


@app.callback()
def _device() -> None:
    pass  # keeps `add` a command of its own while it is the only one


@app.command()
def add(
    device_id: Annotated[str, typer.Argument(metavar="ID", help="1 to 63 of a-z, 0-9 and '-'.")],
    groups: Annotated[
        str, typer.Option(help="Its groups, separated by commas, in the order in which their config applies.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to write the credentials; ./ID.creds if not given.", metavar="FILE")
    ] = None,
    folder: HubDir = None,
) -> None:
    """Register the device ID and write its credentials. Runs on the hub's own machine, while the hub is up.

    Example: edgeagent device add pi-01 --groups berlin,kitchen
    """
    from edgeagent.assembly.hub import add_device
    from edgeagent.hub.folder import HubFolder

    place = HubFolder((folder or places.hub_folder()).absolute())
    target = out or Path(f"{device_id}.creds")
    names = [name.strip() for name in groups.split(",") if name.strip()]
    running.run(add_device(place, device_id, names, target))
    options = place.options()
    typer.echo(f"added {device_id}{' to ' + ', '.join(names) if names else ''}; its credentials are in {target}")
    typer.echo("On the device: put that file at /var/lib/edgeagent/device.creds (mode 600), and in /etc/edgeagent/agent.toml:")
    typer.echo(f'  [device]\n  id = "{device_id}"\n  [hub]\n  urls = ["nats-leaf://{options.listen}:{options.leaf_port}"]')
