"""What `edgeagent run` needs before it can start, looked at without starting anything: `edgeagent check`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgeagent.assembly.deviceleaf import leaf_options
from edgeagent.errors import EdgeError, Failed, UsageProblem
from edgeagent.identity import Identity, Installation, device_id
from edgeagent.machine import Machine
from edgeagent.natsserver import binary, ports
from edgeagent.places import is_there
from edgeagent.settings import Settings
from edgeagent.times import duration
from edgeagent.trust import creds

__all__ = ["Finding", "check"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    good: bool
    text: str
    remedy: str = ""


def check(settings: Settings) -> list[Finding]:
    """Every finding, good and bad. The settings themselves were read already: what is wrong in them was raised by then."""
    looks: list[Callable[[Settings], Iterator[str]]] = [_settings, _identity, _server, _leaf, _folders, _credentials]
    findings = []
    for look in looks:
        try:
            findings += [Finding(True, text) for text in look(settings)]
        except EdgeError as error:
            findings.append(Finding(False, f"{error.what}: {error.why}", error.remedy))
    return findings


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


def _owner_remedy(folder: Path) -> str:
    return f"run as the owner of {folder}, or name another folder under [paths] in agent.toml"


def _credentials(settings: Settings) -> Iterator[str]:
    path = settings.credentials_file
    if not settings.hub.urls:
        yield "hub          none: this device stays on its own (`hub.urls` is empty)"
        return
    login = creds.peek(path)
    if login.name != device_id(Machine(), settings.device.id):
        raise UsageProblem(
            "use the credentials", f"{path} is that of {login.name!r}", "put this device's own there, or set `device.id`"
        )
    left = None if login.expires_at is None else login.expires_at - datetime.now(timezone.utc).timestamp()
    if left is not None and left <= 0:
        raise Failed("use the credentials", f"{path} expired {duration(-left)} ago", "ask whoever runs the hub for new ones")
    groups = ", ".join(login.groups) or "no groups"
    yield f"credentials  {login.name}, {groups}, good for {'ever' if left is None else duration(left)}"
    yield f"hub          {', '.join(settings.hub.urls)}"
