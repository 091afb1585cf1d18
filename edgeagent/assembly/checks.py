"""What `edgeagent run` needs before it can start, looked at without starting anything: `edgeagent check`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

from edgeagent import enrolled, status
from edgeagent.assembly.commandmeans import lacking
from edgeagent.assembly.deviceleaf import leaf_options
from edgeagent.assembly.findings import Finding
from edgeagent.assembly.renewal import renew_at
from edgeagent.assembly.renewer import known
from edgeagent.enrolled import RENEWAL_FILE
from edgeagent.errors import EdgeError, Failed, Unreachable, UsageProblem
from edgeagent.identity import Identity, Installation, device_id
from edgeagent.leaf.linkfailures import explain_last
from edgeagent.machine import Machine
from edgeagent.natsserver import binary, logtail, ports
from edgeagent.places import is_there
from edgeagent.settings import Settings
from edgeagent.times import duration
from edgeagent.trust import creds
from edgeagent.trust.creds import Credentials

__all__ = ["Finding", "check"]


def check(settings: Settings) -> list[Finding]:
    """Every finding, good and bad. The settings themselves were read already: what is wrong in them was raised by then."""
    if is_there(settings.state_folder) and not os.access(settings.state_folder, os.R_OK | os.X_OK):
        # Who this device is, and whose, is in there: what is known without would be wrong.
        hidden = Finding("unknown", f"only root and the agent may look into {settings.state_folder}", "`sudo edgeagent check`")
        return [*(Finding("good", text) for text in _settings(settings)), hidden]
    looks: list[Callable[[Settings], Iterator[str]]] = [_settings, _identity, _server, _leaf, _folders, _credentials, _link]
    findings = []
    for look in looks:
        try:
            findings += [Finding("good", text) for text in look(settings)]
        except EdgeError as error:
            findings.append(Finding.of(error))
    return [*findings, *lacking(settings, Machine())]


def _settings(settings: Settings) -> Iterator[str]:
    there = settings.source is not None and is_there(settings.source)
    yield f"settings     {settings.source}{'' if there else ' (not there: all defaults)'}"


def _identity(settings: Settings) -> Iterator[str]:
    yield f"device id    {device_id(Machine(), settings.device.id)}"


def _server(settings: Settings) -> Iterator[str]:
    if settings.leaf.mode == "managed":
        found = binary.find(settings.leaf.server)
        yield f"nats-server  {found.version} at {found.path}"


def _leaf(settings: Settings) -> Iterator[str]:
    # The suffix is made at the first start; any will do to try the rest.
    identity = Identity(id=device_id(Machine(), settings.device.id), installation=Installation(suffix="check"), boot="")
    options = leaf_options(settings, identity)
    yield f"leaf         {options.mode}, local programs at nats://{ports.HOST}:{options.port}"


def _folders(settings: Settings) -> Iterator[str]:
    for word, folder in (("state", settings.state_folder), ("runtime", settings.runtime_folder)):
        nearest = next(parent for parent in [folder, *folder.parents] if is_there(parent))
        if nearest.is_file():
            raise Failed(f"use the {word} folder {folder}", f"{nearest} is a file", "remove or rename it, or name another folder")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise Failed(f"write to the {word} folder {folder}", f"this user may not write in {nearest}", _owner_remedy(nearest))
        yield f"{word:<12} {folder}"
    enrolled.check_private(settings.state_folder, settings.credentials_file)


def _owner_remedy(folder: Path) -> str:
    return f"run as the owner of {folder}, or name another folder under [paths] in agent.toml"


def _credentials(settings: Settings) -> Iterator[str]:
    path = settings.credentials_file
    if not settings.hub.urls:
        yield "hub          none: this device stays on its own (`hub.urls` is empty)"
        return
    if settings.enrolment:
        yield f"enrolled     as {settings.enrolment.id} with hub {settings.enrolment.hub}, {settings.enrolment.enrolled_at}"
    if not path.exists() and known(settings.state_folder / RENEWAL_FILE):
        yield f"credentials  none at {path}; the agent gets new ones when it runs"
        return
    login = creds.unchecked(path)
    if login.name != device_id(Machine(), settings.device.id):
        raise UsageProblem(
            "use the credentials", f"{path} is that of {login.name!r}", "put this device's own there, or set `device.id`"
        )
    yield from _life(settings, login)
    yield f"hub          {', '.join(settings.hub.urls)}"


def _link(settings: Settings) -> Iterator[str]:
    """Nothing good: only `edgeagent status` knows that. Why an agent that runs has no link, where its leaf's log is certain."""
    if settings.leaf.mode == "external" or not settings.hub.urls:
        return
    try:
        seen = status.read(settings.status_file)
    except EdgeError:
        return  # it never ran, or is another user's
    found = explain_last(logtail.since(settings.state_folder / "leaf.log", 0))
    if status.is_running(seen) and not seen.link.up and found and found.kind != "silence":
        raise Unreachable("link to the hub", found.why, found.remedy)
    yield from ()


def _life(settings: Settings, login: Credentials) -> Iterator[str]:
    """Until when the credentials are good, and when the agent asks for new ones."""
    who, now = f"credentials  {login.name}, {', '.join(login.groups) or 'no groups'}", datetime.now(timezone.utc).timestamp()
    renews = renew_at(login)
    if login.expires_at is None or renews is None:
        yield f"{who}, good for ever"
        return
    left = login.expires_at - now
    if left > 0:
        yield f"{who}, good for {duration(left)}, next renewal in {duration(renews - now)}"
    elif known(settings.state_folder / RENEWAL_FILE):
        yield f"{who}, expired {duration(-left)} ago; the agent gets new ones when it runs"
    else:
        path = settings.credentials_file
        raise Failed("use the credentials", f"{path} expired {duration(-left)} ago", "ask whoever runs the hub for new ones")
