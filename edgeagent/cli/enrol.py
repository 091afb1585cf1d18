"""``edgeagent enroll``: make this device one of a hub's."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent import settings
from edgeagent.cli import claimtoken, running
from edgeagent.cli.claimtoken import DeviceId, Hidden, Proxy, Token, TokenFile
from edgeagent.cli.harmless import harmless
from edgeagent.cli.options import SettingsFile

if TYPE_CHECKING:
    from edgeagent.enrolled import Enrolment
    from edgeagent.enrolment import Admission

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    app.command()(enroll)


def enroll(
    hub: Annotated[
        str, typer.Option(help="The hub: a host, host:port, or an address such as wss://hub.example:443.", metavar="HOST|URL")
    ],
    token: Token = "",
    token_file: TokenFile = "",
    device_id: DeviceId = "",
    proxy: Proxy = "",
    settings_file: SettingsFile = None,
    force: Annotated[bool, typer.Option("--force", help="Give up the hub that this device is enrolled with.")] = False,
    proxy_follows: Hidden = False,
) -> None:
    """Make this device one of a hub's, with a claim token that `edgeagent token create` made there.

    The device makes its key here and shows it to nobody. Afterwards `edgeagent run` needs no settings file. If something breaks off,
    run it again: nothing is used twice.

    Example: sudo edgeagent enroll --hub hub.example --token-file token.txt
    """
    shown = claimtoken.shown(token, token_file)
    if shown or "@" in proxy:
        words = ["--hub", hub, "--id", device_id, *(["--force"] if force else [])]
        words += ["--settings", str(settings_file)] if settings_file else []
        claimtoken.begin_anew("enroll", shown or claimtoken.read(token_file), proxy, words)
    own = settings.load_own(settings_file)
    text = claimtoken.read(token_file)
    if proxy_follows:
        text, _, proxy = text.partition("\n")
    found = _enrol(own, hub, text, device_id, proxy, force=force)
    typer.echo(harmless(f"enrolled as {found.id} with hub {found.hub} over {found.urls[0]}"))
    for line in _next(own, found):
        typer.echo(harmless(line))


def _enrol(own: settings.Settings, hub: str, text: str, device_id: str, proxy: str, *, force: bool) -> Enrolment:
    from edgeagent.assembly.enrol import EnrolOptions, enrol
    from edgeagent.assembly.enrolfiles import AGENT_USER, become
    from edgeagent.enrolment import ClaimToken

    options = EnrolOptions(hub=hub, token=ClaimToken.parse(text), device_id=device_id, proxy=proxy, force=force)
    admitted = None
    if own.is_system:
        admitted = _stay_behind(own)
        become(AGENT_USER, own.state_folder)
    return running.run(enrol(own, options, lambda line: typer.echo(harmless(line), err=True), admitted=admitted))


def _stay_behind(own: settings.Settings) -> Callable[[Admission], None] | None:
    """As root: have a second process go on, and keep whom this device follows, as that one is told it by the hub and says it through the
    pipe. The files that it leaves are the agent's user's, who may have put others there."""
    from edgeagent.assembly import rootpins
    from edgeagent.places import is_root

    if not is_root():
        return None
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        return lambda admission: rootpins.tell(writing, admission)
    os.close(writing)
    told = rootpins.heard(reading)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 0:
        rootpins.take_over(own, told=told)
    raise typer.Exit(code if code >= 0 else 128 - code)


def _next(own: settings.Settings, found: Enrolment) -> list[str]:
    lines = []
    if own.hub.urls:
        lines.append(f"{own.source} names hub.urls itself, which goes before {found.urls[0]}")
    named = "" if own.is_system or not own.source or not own.source.exists() else f" --settings {own.source}"
    service = "`sudo systemctl restart edgeagent`, or " if own.is_system else ""
    return [*lines, f"next: {service}`edgeagent run{named}`"]
