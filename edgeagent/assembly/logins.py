"""What logins of programs and of microcontrollers have in common: one list of names, files to hand over, a running agent to tell."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import time
from pathlib import Path

from edgeagent import files, mcus, services
from edgeagent import status as statuses
from edgeagent.assembly.appsdoor import RELOAD
from edgeagent.errors import Closed, EdgeError, Failed, Refused, Unreachable, UsageProblem
from edgeagent.leaf import apps
from edgeagent.leaf.apps import CLI_INBOX
from edgeagent.leaf.conf import AGENT_USER
from edgeagent.leaf.secrets import load
from edgeagent.link import connect, request
from edgeagent.settings import Settings

__all__ = ["changing", "check_free", "hand_over", "kept", "leaf_url", "refuse_existing", "tell"]

#: How long an agent that runs may be without its leaf, and how often it is looked for, in seconds.
TELL_SECONDS, AGAIN_SECONDS = 15.0, 0.1


def kept(settings: Settings, name: str) -> Path:
    """A file of the state folder. Raises Failed when there is no such folder yet."""
    if not settings.state_folder.is_dir():
        raise Failed("add or list logins", f"there is no {settings.state_folder}", "run the agent once: `edgeagent run`")
    return settings.state_folder / name


def changing(settings: Settings, what: str) -> files.Lock:
    """One change at a time: each writes all of them, and no name is given twice."""
    return files.Lock(kept(settings, "apps.lock"), what)


def check_free(settings: Settings, what: str, name: str, *, but: str = "") -> None:
    """Raise Refused when a program or a microcontroller is called so: both are users of one server, and sources of samples.

    but: ``program`` or ``microcontroller``: that kind is not looked at.
    """
    known = {
        "program": ({*apps.load(kept(settings, "apps.json"))}, "app"),
        "microcontroller": ({*mcus.load(kept(settings, mcus.FILE))}, "mcu"),
    }
    for kind, (names, word) in known.items():
        if kind != but and name in names:
            raise Refused(what, f"a {kind} is called so", f"choose another name, or `edgeagent {word} rm {name}`")


def refuse_existing(what: str, *paths: Path | None) -> None:
    """Raise Refused when one of these files is there already."""
    for path in filter(None, paths):
        if os.path.lexists(path):
            raise Refused(what, f"{path} is there already", "move it away, or name another with --out")


def hand_over(path: Path, text: str, group: str) -> None:
    """Write a file of its user's. Its owner is who runs us, also where the folder is another's: what it says is for ``group``."""
    owner = None
    if group:
        try:
            owner = (-1, grp.getgrnam(group).gr_gid)
        except KeyError:
            raise UsageProblem(f"give {path} to the group {group!r}", "there is no such group") from None
    files.make_folder(path.parent, 0o755)
    files.write_atomic(path, text.encode(), 0o640, owner)


def leaf_url(settings: Settings) -> str:
    """The address of this machine's leaf: the port that it has now, else the one in the settings."""
    with contextlib.suppress(EdgeError):
        found = statuses.read(settings.status_file)
        if found.leaf.port:
            return f"nats://127.0.0.1:{found.leaf.port}"
    return f"nats://127.0.0.1:{settings.leaf.port}"


async def tell(settings: Settings) -> bool:
    """Tell the agent, if one runs. Raises what it answers when it can't take the change.

    While the leaf is started anew nobody answers for a moment, though it may have read the logins already: one that runs is told later.
    """
    login = load(settings.state_folder / "secrets.json")
    if login is None:
        return False  # the agent makes it at its next start
    until = time.monotonic() + TELL_SECONDS
    while not await _told(settings, (AGENT_USER, login.agent)):
        if time.monotonic() > until or not _runs(settings):
            return False
        await asyncio.sleep(AGAIN_SECONDS)
    return True


async def _told(settings: Settings, password: tuple[str, str]) -> bool:
    try:
        client = await connect(
            leaf_url(settings),
            what="tell the agent",
            name="edgeagent app",
            inbox_prefix=f"{CLI_INBOX}.{os.getpid()}",
            password=password,
            reconnect=False,
        )
    except EdgeError:
        return False
    try:
        services.result((await request(client, RELOAD, what="tell the agent", timeout=15)).data, type(None))
    except (Unreachable, Closed):
        return False
    finally:
        with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
            await client.close()
    return True


def _runs(settings: Settings) -> bool:
    try:
        return statuses.is_running(statuses.read(settings.status_file))
    except EdgeError:
        return False
