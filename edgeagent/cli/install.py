"""``edgeagent install`` and ``uninstall``: the machine's own agent, as a service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli import claimtoken
from edgeagent.cli.claimtoken import DeviceId, Hidden, Proxy, Token, TokenFile
from edgeagent.cli.harmless import harmless, json_text
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.assembly.install import Installed, State
    from edgeagent.assembly.installplace import Place
    from edgeagent.assembly.natsrelease import NatsRelease

__all__ = ["add_to"]

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def add_to(app: typer.Typer) -> None:
    app.command()(install)
    app.command()(uninstall)


def install(
    hub: Annotated[
        str, typer.Option(help="Enrol with this hub: a host, host:port, or an address as for `enroll`.", metavar="HOST|URL")
    ] = "",
    token: Token = "",
    token_file: TokenFile = "",
    device_id: DeviceId = "",
    proxy: Proxy = "",
    nats_server: Annotated[
        Path | None,
        typer.Option("--nats-server", help="nats-server's own release, where PyPI has none: 32-bit systems.", metavar="FILE"),
    ] = None,
    sha256: Annotated[
        str, typer.Option("--sha256", help="Its sum, as SHA256SUMS on the release's page has it.", metavar="SUM")
    ] = "",
    root: Annotated[
        Path | None, typer.Option("--root", help="Install into the image of a machine that is in this folder.", metavar="DIR")
    ] = None,
    wait: Annotated[float, typer.Option("--wait", help="How long the link may take, in seconds.", min=1, max=3600)] = 90.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done, and do nothing.")] = False,
    as_json: Json = False,
    proxy_follows: Hidden = False,
) -> None:
    """Make the agent a service of this machine: its user, folders, units and settings; with --hub also a device of that hub, linked.

    Again it changes only what is not as it should be. edgeagent itself must be at /opt/edgeagent (docs/install.md).

    Example: sudo edgeagent install --hub hub.example --token-file token.txt
    """
    shown = claimtoken.shown(token, token_file) if hub else token
    if shown or "@" in proxy:
        words = ["--hub", hub, "--id", device_id, "--sha256", sha256, "--wait", str(wait)]
        words += [word for name, path in (("--root", root), ("--nats-server", nats_server)) if path for word in (name, str(path))]
        words += [name for name, given in (("--dry-run", dry_run), ("--json", as_json)) if given]
        claimtoken.begin_anew("install", shown or claimtoken.read(token_file), proxy, words)
    if bool(hub) != bool(token_file):
        lacks = "there is no hub" if token_file else "there is no claim token"
        raise UsageProblem("enrol this device", lacks, "give both --hub HOST and --token-file FILE (or -), or none of them")
    text = claimtoken.read(token_file) if token_file else ""
    if proxy_follows:
        text, _, proxy = text.partition("\n")
    _install(_place(root), (hub, text, proxy, device_id), _release(nats_server, sha256), wait, dry_run=dry_run, as_json=as_json)


def _place(root: Path | None) -> Place:
    from edgeagent.assembly.installplace import Place

    if root is None:
        return Place()
    if not root.is_dir():
        raise UsageProblem("install into an image", f"there is no folder {root}", "name the one that is to become its /")
    return Place(root.absolute())


def _release(path: Path | None, sha256: str) -> NatsRelease | None:
    from edgeagent.assembly import natsrelease

    if path is None and sha256:
        raise UsageProblem("use --sha256", "there is no --nats-server that it would be of")
    return natsrelease.read(path, sha256) if path else None


def _install(
    place: Place, enrolment: tuple[str, str, str, str], release: NatsRelease | None, wait: float, *, dry_run: bool, as_json: bool
) -> None:
    from edgeagent.assembly.install import InstallOptions
    from edgeagent.assembly.install import install as work

    hub, text, proxy, device_id = enrolment
    options = InstallOptions(
        hub=hub, token=text, proxy=proxy, device_id=device_id, release=release, dry_run=dry_run, wait_seconds=wait
    )

    def tell(what: str, state: State) -> None:
        if not as_json:
            typer.echo(f"{state:<13}{harmless(what)}")

    made = work(place, options, tell, lambda what: typer.echo(f"{'waits':<13}{harmless(what)}", err=True))
    following = _next(place, made, dry_run=dry_run)
    if as_json:
        steps = [{"what": what, "state": state} for what, state in made.steps]
        record = {"changed": made.changed, "dry_run": dry_run, "id": made.id, "hub": made.hub, "linked": made.linked}
        print(json_text({**record, "steps": steps, "notes": made.notes, "next": following}, indent=2))
        return
    for line in made.notes:
        typer.echo(f"note: {line}", err=True)
    if not made.changed:
        typer.echo("nothing to do")
    if made.linked:
        typer.echo(harmless(f"{made.id} is linked" + (f" to hub {made.hub}" if made.hub else "")))
    for line in following:
        typer.echo(f"next: {line}")


def _next(place: Place, made: Installed, *, dry_run: bool) -> list[str]:
    """What to type next."""
    if dry_run:
        return ["the same without --dry-run"] if made.changed else []
    if made.linked:
        return ["`edgeagent status` here, `edgeagent fleet ls` where you work"]
    if place.is_image:
        return ["at its first boot: `edgeagent install --hub HOST --token-file FILE` (docs/install.md)"]
    if not place.is_live:
        return ["once systemd runs: `sudo edgeagent install --hub HOST --token-file FILE`"]
    return ["`sudo edgeagent install --hub HOST --token-file -`, paste what `edgeagent token create` printed at the hub, Ctrl-D"]


def uninstall(
    purge: Annotated[
        bool, typer.Option("--purge", help="Also the identity, the settings and data that was not sent yet.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Stop the agent and remove it from this machine. Identity, settings and unsent data stay, for a later installation.

    Example: sudo edgeagent uninstall
    """
    from edgeagent.assembly import uninstall as work
    from edgeagent.assembly.installplace import Place

    place, said = Place(), list[str]()
    work.check(place, purge=purge)
    if purge and not yes:
        _ask(work.kept(place))

    def tell(line: str) -> None:
        said.append(line)
        if not as_json:
            typer.echo(line)

    work.uninstall(place, tell, purge=purge)
    left = [str(path) for path in work.kept(place)]
    if as_json:
        print(json_text({"done": said, "kept": left}, indent=2))
    elif left:
        typer.echo(f"kept     {' and '.join(left)}: an installation finds them again; `sudo rm -r` them if there will be none")
    elif not said:
        typer.echo("nothing to do")


def _ask(kept: list[Path]) -> None:
    if not sys.stdin.isatty():
        raise UsageProblem("remove all of edgeagent", "there is nobody to ask", "--yes if you mean it")
    what = " and ".join(map(str, kept)) or "what is there"
    typer.confirm(f"Remove {what} for good? The hub still knows the device (`edgeagent device forget`).", abort=True)
