"""``edgeagent hub``: make a hub, run it, look at it."""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent import places
from edgeagent.cli import hubbackup, hubdoctor, hubkeys, hubmove, hubnotify, hubtls, passphrase, running
from edgeagent.cli.options import HubDir
from edgeagent.cli.table import Column, Form, emit
from edgeagent.errors import UsageProblem
from edgeagent.times import duration

if TYPE_CHECKING:
    from edgeagent.assembly.hubcluster import Member

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Make a hub, run it, look at it.\n\nExample: edgeagent hub init && edgeagent hub up")
app.add_typer(hubkeys.app, name="keys")
app.add_typer(hubtls.app, name="tls")
app.add_typer(hubnotify.app, name="notify")

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def _user() -> str:
    try:
        return re.sub(r"[^A-Za-z0-9_-]", "", getpass.getuser()) or "admin"
    except (OSError, KeyError):
        return "admin"


@app.command()
def init(
    folder: HubDir = None,
    name: Annotated[str, typer.Option(help="The hub's name, also of the context that is made for you.")] = "hub",
    listen: Annotated[str, typer.Option(help="Address to listen on. Without TLS keep it on a network you trust.")] = "127.0.0.1",
    advertise: Annotated[
        str, typer.Option(help="Name or address that others use for the hub (NAT, DNS); the one of --listen if not given.")
    ] = "",
    client_port: Annotated[int, typer.Option(help="Port for operators.", min=1, max=65535)] = 4222,
    leaf_port: Annotated[int, typer.Option(help="Port for devices.", min=1, max=65535)] = 7422,
    store_bytes: Annotated[
        int,
        typer.Option(help="Disk for the streams, in bytes, 256 MiB at least; 0: half of what is free, 64 GiB at most.", min=0),
    ] = 0,
    websocket_port: Annotated[
        int,
        typer.Option(
            help="Port for devices and people whose network lets only HTTPS out, usually 443; 0: none.", min=0, max=65535
        ),
    ] = 0,
    tls_self: Annotated[
        bool, typer.Option("--tls-self", help="Encrypt every port, with a certificate authority of the hub's own.")
    ] = False,
    tls_name: Annotated[
        list[str] | None,
        typer.Option(help="One more name or address for that certificate (repeatable).", metavar="NAME"),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(
            help="Encrypt every port with this certificate of yours (PEM), e.g. certbot's fullchain.pem.", metavar="FILE"
        ),
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).", metavar="FILE")] = None,
    tls_authorities: Annotated[
        Path | None, typer.Option(help="The authorities that signed it (PEM), unless every system knows them.", metavar="FILE")
    ] = None,
    cluster: Annotated[
        int, typer.Option(help="Make a hub of so many servers that keep copies of everything: 3, or 5. 0: of one.", min=0)
    ] = 0,
    server: Annotated[
        list[str] | None,
        typer.Option(
            help="Where one of them is reached (repeat it for each); if not given, all run on this machine.", metavar="HOST"
        ),
    ] = None,
    route_port: Annotated[int, typer.Option(help="Port on which they reach each other.", min=1, max=65535)] = 6222,
    admin: Annotated[str, typer.Option(help="Your name as this hub's first administrator.")] = "",
    passphrase_file: passphrase.PassphraseFile = None,
    no_passphrase: passphrase.NoPassphrase = False,
) -> None:
    """Make a hub: its keys, its accounts, and a context for you.

    The keys that say who may command devices go into a file of their own, encrypted with a passphrase: yours, not the hub's.

    With --cluster it is several servers, each in a folder of its own with the same keys: DIR, DIR-2, DIR-3.

    Example: edgeagent hub init --name berlin --listen 192.168.1.10 --tls-self
    """
    from edgeagent.assembly import hubcluster, hubmake
    from edgeagent.hub.address import addresses, is_loopback
    from edgeagent.hub.folder import HubFolder, HubOptions, suggested_store_bytes

    place = HubFolder((folder or places.hub_folder()).absolute())
    here = 1 if server else max(1, cluster)  # servers whose stores share a disk
    options = HubOptions(
        name=name,
        listen=listen,
        advertise=advertise,
        client_port=client_port,
        leaf_port=leaf_port,
        store_max_bytes=store_bytes or suggested_store_bytes(place.path, here),
        websocket_port=websocket_port,
        tls=hubtls.kind(own=tls_self or bool(tls_name), files=bool(tls_certificate or tls_key or tls_authorities)),
        tls_names=tls_name or [],
        certificate_file=hubtls.absolute(tls_certificate),
        key_file=hubtls.absolute(tls_key),
        authorities_file=hubtls.absolute(tls_authorities),
    )
    if server and not cluster:
        raise UsageProblem("make the hub", "--server is for a hub of several", "add --cluster 3")
    members = hubcluster.plan(place, options, cluster, server or (), route_port) if cluster else hubcluster.alone(place, options)
    hubmake.check_all(members, admin or _user())  # before anybody is asked for a passphrase
    tight = hubmake.check_room(place, options.store_max_bytes, here)
    secret = passphrase.new(passphrase_file, no_passphrase=no_passphrase)
    context, urls = hubmake.make_all(members, admin or _user(), passphrase=secret), addresses(options, members[0].cluster)
    typer.echo(f"made the hub {name!r} in {', '.join(str(member.place.path) for member in members)}")
    typer.echo(f"  hub's keys    {place.keys}")
    typer.echo(f"  owner's keys  {hubmake.owner_file(name)}  ({'NOT ' if secret is None else ''}encrypted)")
    typer.echo(f"  operators     {urls.operators}")
    typer.echo(f"  devices       {urls.devices}")
    if urls.websocket:
        typer.echo(f"  websocket     {urls.websocket}")
    typer.echo(f"  your context  {context.name}, as {admin or _user()} (admin)")
    if urls.note:
        typer.echo(urls.note)
    if tight:
        typer.echo(tight, err=True)
    if not is_loopback(listen) and not options.tls:
        typer.echo("There is no TLS on these ports (--tls-self): keep them on a network you trust.", err=True)
    where = "" if folder is None else f" --dir {place.path}"
    typer.echo(
        f"Back the owner's keys up away from this machine: `edgeagent hub keys backup{where} --out FILE`. Nothing replaces them."
    )
    typer.echo("Metrics for Prometheus will be at http://127.0.0.1:9464/metrics; [metrics], [notify] and more in hub.toml.")
    if cluster:
        _say_cluster(members, server or [])
        return
    typer.echo(f"Next: `edgeagent hub up{where}`, then `edgeagent token create`, which says what to type on a device.")


def _say_cluster(members: Sequence[Member], hosts: Sequence[str]) -> None:
    from edgeagent.assembly.hubcluster import copies

    for command in copies(members, hosts):
        typer.echo(f"Copy one server's folder to its machine, with its keys: `{command}`")
    up = [f"edgeagent hub up --dir {member.place.path}" for member in members]
    where = f"`{up[0]}` on each of them" if hosts else ", ".join(f"`{command}`" for command in up)
    typer.echo(f"Next: {where}, then `edgeagent token create`, which says what to type on a device.")


@app.command()
def up(folder: HubDir = None) -> None:
    """Run the hub: nats-server, and the services beside it, until Ctrl-C.

    Example: edgeagent hub up
    """
    from edgeagent.assembly.hub import run
    from edgeagent.hub.folder import HubFolder

    running.run(run(HubFolder((folder or places.hub_folder()).absolute())))


@app.command()
def serve(folder: HubDir = None) -> None:
    """Run the hub's services once more, beside a hub that is up: enrolment, renewal, orders, presence, metrics. Any number may run.

    `hub up` has them too; more of them keep answering while one is started anew. Needs the hub's folder, on the hub's own machine.

    Example: edgeagent hub serve
    """
    from edgeagent.assembly.hub import serve as run
    from edgeagent.hub.folder import HubFolder

    running.run(run(HubFolder((folder or places.hub_folder()).absolute())))


@app.command()
def status(folder: HubDir = None, as_json: Json = False) -> None:
    """Show whether the hub runs, who is connected and how full its streams are. Runs on the hub's own machine.

    Example: edgeagent hub status
    """
    from edgeagent.assembly.hub import look
    from edgeagent.hub.folder import HubFolder

    found = running.run(look(HubFolder((folder or places.hub_folder()).absolute())))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    server = found["server"]
    several, where = len(found["servers"]) > 1, f" (pid {found['pid']})" if found["pid"] else ""
    if several and not found["pid"]:
        typer.echo("The server of this folder does not run: `edgeagent hub up`. What follows is what another one says.")
    typer.echo(f"{server['name']} runs nats-server {server['version']} since {duration(server['uptime_seconds'])}{where}")
    typer.echo(f"  operators  {found['urls']['operators']}   {server['connections']} connections")
    up = sum(each["up"] for each in found["servers"])
    if 2 * up <= len(found["servers"]):
        typer.echo("Too few of its servers are up: nothing can be stored until one more is back.")
    leafs = sum(each.get("leafs") or 0 for each in found["servers"]) if several else server["leafs"]
    typer.echo(f"  devices    {found['urls']['devices']}   {leafs} linked, {found['devices']} registered\n")
    columns = [
        Column("id"),
        Column("messages"),
        Column("used", _bytes),
        Column("limit", _bytes),
        Column("full", lambda part: f"{part:.1%}"),
    ]
    if several:
        emit([_flat(each) for each in found["servers"]], _SERVERS, Form.table)
        typer.echo()
        columns += [Column("leader"), Column("lag", lambda lag: str(lag or ""))]
    emit(found["streams"], columns, Form.table)
    if found["sending"]:
        typer.echo()
        emit(found["sending"], [Column("id"), Column("waiting"), Column("since"), Column("problem", narrow="wrap")], Form.table)


def _flat(server: Mapping[str, Any]) -> dict[str, Any]:
    return {**server, "uptime": server.get("uptime_seconds")}


def _if_known(value: Any) -> str:
    return "" if value is None else str(value)


_SERVERS = [
    Column("id"),
    Column("up", lambda up: "up" if up else "AWAY"),
    Column("version", _if_known),
    Column("uptime", lambda seconds: "" if seconds is None else duration(seconds)),
    Column("connections", _if_known),
    Column("leafs", _if_known),
    Column("leads", lambda leads: "leads" if leads else ""),
]


def _bytes(value: Any) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return ""


# After init, up, serve and status, as `hub --help` lists them: from the first day of a hub to its last.
for _command in (hubdoctor.doctor, hubbackup.backup, hubbackup.restore, hubmove.move):
    app.command()(_command)
