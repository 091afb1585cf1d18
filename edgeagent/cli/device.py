"""``edgeagent device``: the devices of a hub: add them, list them, order about them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent import places
from edgeagent.cli import device_orders, device_register, expiry, running
from edgeagent.cli.options import HubDir

__all__ = ["app"]

if TYPE_CHECKING:
    from edgeagent.hub.cluster import Cluster
    from edgeagent.hub.folder import HubOptions

app = typer.Typer(
    no_args_is_help=True,
    help="The devices of a hub: add, list, group, label and revoke them.\n\nExample: edgeagent device revoke pi-07 --reason stolen",
)
device_register.add_to(app)
device_orders.add_to(app)


@app.command()
def add(
    device_id: Annotated[str, typer.Argument(metavar="ID", help="1 to 63 of a-z, 0-9 and '-'.")],
    groups: Annotated[
        str | None,
        typer.Option(
            help="Its groups, separated by commas, in the order in which their config applies. With --renew: those it has."
        ),
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="New credentials for a device that is registered already.")] = False,
    expires: Annotated[
        float, typer.Option(help="How long they are good: 12h, 90d, 52w.", parser=expiry.parse, metavar="TIME")
    ] = "90d",  # type: ignore[assignment]  # typer gives the default to the parser
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to write the credentials; ./ID.creds if not given.", metavar="FILE")
    ] = None,
    folder: HubDir = None,
) -> None:
    """Register the device ID and write its credentials. Runs on the hub's own machine, while the hub is up.

    With --renew the device keeps its place in the register, and its groups unless others are given, and gets a new key. Its older
    credentials stay good until they expire.

    Example: edgeagent device add pi-01 --groups berlin,kitchen
    """
    from edgeagent.assembly.hub import add_device, renew_device
    from edgeagent.hub.folder import HubFolder

    place = HubFolder((folder or places.hub_folder()).absolute())
    target = out or Path(f"{device_id}.creds")
    names = None if groups is None else [name.strip() for name in groups.split(",") if name.strip()]
    if renew:
        record = running.run(renew_device(place, device_id, names, target, expires_in_seconds=expires))
        typer.echo(f"renewed {device_id}{_groups('in', record.groups)}; its new credentials are in {target}")
        typer.echo("On the device: put that file in the place of the old one (mode 600); it counts from the next link on.")
        return
    running.run(add_device(place, device_id, names or [], target, expires_in_seconds=expires))
    typer.echo(f"added {device_id}{_groups('to', names or [])}; its credentials are in {target}")
    _say_next(place.options(), place.cluster(), device_id)


def _groups(word: str, groups: list[str]) -> str:
    return f" {word} {', '.join(groups)}" if groups else ""


def _say_next(options: HubOptions, cluster: Cluster, device_id: str) -> None:
    from edgeagent.hub.address import addresses

    urls = addresses(options, cluster)
    typer.echo("On the device: put that file at /var/lib/edgeagent/device.creds (mode 600), and in /etc/edgeagent/agent.toml:")
    typer.echo(f'  [device]\n  id = "{device_id}"\n  [hub]\n  urls = ["{urls.devices}"]')
    if urls.note:
        typer.echo(urls.note)
