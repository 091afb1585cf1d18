"""``edgeagent operator``: let people in, and renew what they have."""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edgeagent import places
from edgeagent.cli import expiry
from edgeagent.cli.options import HubDir
from edgeagent.times import duration

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Let people use the hub.\n\nExample: edgeagent operator add olga --role operator")


class Role(str, Enum):
    """viewer: asks and reads. operator: may change things too. admin: the same, and counts as the hub's owner."""

    viewer = "viewer"
    operator = "operator"
    admin = "admin"


@app.callback()
def _operator() -> None:
    pass  # keeps `add` a command of its own while it is the only one


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 64 of A-Z, a-z, 0-9, '-' and '_'.")],
    role: Annotated[Role, typer.Option(help="viewer: asks and reads. operator, admin: may also set configuration and command.")],
    expires: Annotated[
        float, typer.Option(help="How long they are good: 12h, 30d, 8w.", parser=expiry.parse, metavar="TIME")
    ] = "30d",  # type: ignore[assignment]  # typer gives the default to the parser
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where to write them; NAME.creds if not given.", metavar="FILE"),
    ] = None,
    folder: HubDir = None,
) -> None:
    """Write credentials for the person NAME. Runs on the hub's own machine; the hub itself may be down.

    Run it again to renew them: the file is replaced if it holds older ones of the same person. The older ones stay good until
    they expire.

    Example: edgeagent operator add olga --role operator --expires 8w
    """
    from edgeagent.assembly.hub import add_operator
    from edgeagent.hub.address import addresses
    from edgeagent.hub.folder import HubFolder

    place = HubFolder((folder or places.hub_folder()).absolute())
    target = out or _target(place.path, name)
    login = add_operator(place, name, role.value, target, expires_in_seconds=expires)
    options = place.options()
    urls = addresses(options)
    good = duration((login.expires_at or 0) - time.time())
    typer.echo(f"{name} ({role.value}) has credentials in {target}, good for {good}")
    typer.echo(f"Give {name} that file (mode 600) over a safe way, and there:")
    typer.echo(f"  edgeagent context add {options.name} --url {urls.operators} --credentials {target.name}")
    if urls.note:
        typer.echo(urls.note)


def _target(hub: Path, name: str) -> Path:
    """The file that `hub init` made for its first administrator, if it is that one: the context on this machine uses it."""
    own = hub / f"{name}.creds"
    return own if places.is_there(own) else Path(f"{name}.creds")
