"""``edgeagent hub tls``: the certificates of the hub's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgeagent import places
from edgeagent.cli import running
from edgeagent.cli.options import HubDir
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.hub.folder import HubFolder, HubOptions

__all__ = ["absolute", "app", "kind"]

app = typer.Typer(no_args_is_help=True, help="The hub's certificates.\n\nExample: edgeagent hub tls show")


def kind(*, own: bool, files: bool) -> Literal["", "self", "files"]:
    """The setting ``tls`` that the options of `hub init` mean. Raises UsageProblem for both."""
    if own and files:
        raise UsageProblem(
            "make the hub", "it has one certificate: of its own (--tls-self, --tls-name) or yours (--tls-certificate)"
        )
    return "self" if own else "files" if files else ""


def absolute(path: Path | None) -> str:
    return "" if path is None else str(path.expanduser().absolute())


@app.command()
def show(folder: HubDir = None, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Show the hub's certificate and its certificate authorities: for which names, and until when.

    Example: edgeagent hub tls show
    """
    from edgeagent.assembly.hubtls import look

    found = look(*_hub(folder))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for line in _lines(found):
        typer.echo(line)


def _lines(found: dict[str, Any]) -> list[str]:
    server = found["certificate"]
    lines = [
        f"certificate  {server['file']}, until {server['ends'][:10]} ({server['days_left']} days)",
        f"  for        {', '.join(server['names'])}",
        f"  signed by  {server['issuer']}",
    ]
    for one in found["authorities"]:
        lines.append(f"authority {one['number']}  until {one['ends'][:10]}, {one['state']}")
    if not found["authorities"]:
        lines.append(f"authorities  {found['authorities_file'] or 'those of every system'}")
    return lines


@app.command()
def renew(folder: HubDir = None) -> None:
    """Make a new server certificate now; the hub renews it by itself when less than a third of its time is left.

    Nobody is disconnected. Each server of a cluster has its own.

    Example: edgeagent hub tls renew
    """
    from edgeagent.assembly.hubtls import own, reload_running

    place, options = _hub(folder)
    made = own(place, options).renew(options, _now())
    typer.echo(f"made a certificate until {made.ends:%Y-%m-%d} for {', '.join(made.names)}")
    _say(running.run(reload_running(place)))


@app.command()
def rotate(
    folder: HubDir = None,
    at_once: Annotated[
        bool, typer.Option("--now", help="Sign with it at once: whoever does not have it yet stays outside.")
    ] = False,
) -> None:
    """Make a new certificate authority. It is handed out from now on, and signs in 30 days.

    Example: edgeagent hub tls rotate
    """
    from edgeagent.assembly.hubtls import own, reload_running

    place, options = _hub(folder)
    made = own(place, options).rotate(options, _now(), at_once=at_once)
    when = "signs from now on" if at_once else f"signs from {made.signs_from:%Y-%m-%d}"
    typer.echo(f"made the certificate authority {made.number}, until {made.ends:%Y-%m-%d}; it {when}")
    others = place.cluster().size - 1
    if others:
        typer.echo(
            f"Copy ca-*, ca.pem and made.json of {place.tls} to the same folder of the {others} other servers of the hub, with their "
            f"modes{'' if at_once else f', before {made.signs_from:%Y-%m-%d}'}: each makes a certificate of its own with them."
        )
    if at_once:
        typer.echo("Whoever trusts only the old ones needs the new file: `edgeagent operator add` writes it for people.")
        _say(running.run(reload_running(place)))


def _hub(folder: Path | None) -> tuple[HubFolder, HubOptions]:
    from edgeagent.hub.folder import HubFolder

    place = HubFolder((folder or places.hub_folder()).absolute())
    return place, place.options()


def _now() -> Any:
    from edgeagent.assembly.hubtls import now

    return now()


def _say(reloaded: bool) -> None:
    typer.echo("nats-server uses it from now on" if reloaded else "the hub does not run; it uses it when it starts")
