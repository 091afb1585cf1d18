"""Logins of local programs: kept in the state folder, told to the running agent, handed over as an environment file."""

from __future__ import annotations

import contextlib
import grp
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgeagent import files, places, services
from edgeagent import status as statuses
from edgeagent.assembly.appsdoor import RELOAD
from edgeagent.errors import EdgeError, Failed, Refused, Unreachable, UsageProblem
from edgeagent.leaf import apps
from edgeagent.leaf.apps import CLI_INBOX, App
from edgeagent.leaf.conf import AGENT_USER
from edgeagent.leaf.secrets import load
from edgeagent.link import connect, request
from edgeagent.settings import Settings

__all__ = ["add", "environment_file", "leaf_url", "listed", "remove"]

#: Where environment files of the machine's own installation go.
SYSTEM_APPS = places.SYSTEM_SETTINGS.parent / "apps"


def listed(settings: Settings) -> list[App]:
    """The programs that have a login, by name."""
    return [app for _, app in sorted(apps.load(_file(settings)).items())]


async def add(
    settings: Settings,
    name: str,
    *,
    target: Path | None = None,
    nkey: bool = False,
    publish: Sequence[str] = (),
    subscribe: Sequence[str] = (),
    group: str = "",
) -> tuple[Path, bool]:
    """Give the program ``name`` a login and write its environment file; the file, and whether a running agent knows it now.

    target: the file; None: ``NAME.env`` in :func:`folder`. nkey: a key instead of a password, its seed beside the file.
    publish, subscribe: subjects below ``local.`` besides its own. group: of the files, so that the program's user may read them.
    """
    what = f"add the program {name!r}"
    grants = [tuple(map(apps.check_grant, subjects)) for subjects in (publish, subscribe)]
    app = App(name=apps.check_name(name), publish=grants[0], subscribe=grants[1])
    with _changing(settings, what):
        target = _add(settings, app, what, target, nkey, group)
    return target, await _tell(settings)


def _add(settings: Settings, app: App, what: str, target: Path | None, nkey: bool, group: str) -> Path:
    known = apps.load(_file(settings))
    if app.name in known:
        raise Refused(what, "it has a login already", f"`edgeagent app rm {app.name}` takes it away")
    target = (target or folder(settings) / f"{app.name}.env").absolute()
    seed_file = target.with_suffix(".nk") if nkey else None
    for path in filter(None, (target, seed_file)):
        if os.path.lexists(path):
            raise Refused(what, f"{path} is there already", "move it away, or name another with --out")
    if seed_file:
        app = msgspec.structs.replace(app, nkey=_new_key(seed_file, group))
    else:
        app = msgspec.structs.replace(app, password=secrets.token_urlsafe(24))
    app = msgspec.structs.replace(app, file=str(target))
    with contextlib.ExitStack() as undo:
        if seed_file:
            undo.callback(seed_file.unlink)
        _hand_over(target, apps.environment(app, leaf_url(settings), seed_file), group)
        undo.callback(target.unlink)
        apps.save(_file(settings), {**known, app.name: app})
        undo.pop_all()
    return target


async def remove(settings: Settings, name: str) -> bool:
    """Take the login away, and the files that were written for it; whether a running agent knows it now."""
    what = f"remove the program {name!r}"
    with _changing(settings, what):
        known = apps.load(_file(settings))
        if name not in known:
            has = ", ".join(sorted(known)) or "none"
            raise UsageProblem(what, f"it has no login (those that have one: {has})")
        apps.save(_file(settings), {key: app for key, app in known.items() if key != name})
        _take_back(known[name])
    return await _tell(settings)


def _take_back(app: App) -> None:
    """Remove the environment file, unless it was changed into another, and the seed beside it."""
    path = Path(app.file)
    with contextlib.suppress(OSError):
        if app.file and f"EDGEAGENT_APP={app.name}\n" in path.read_text(errors="replace"):
            path.unlink()
            path.with_suffix(".nk").unlink(missing_ok=True)


def folder(settings: Settings) -> Path:
    """Where environment files go unless told otherwise: the state folder is closed to the programs' users."""
    return SYSTEM_APPS if settings.is_system else settings.state_folder / "apps"


def environment_file(settings: Settings, name: str) -> Path:
    """Where the environment of the program ``name`` is.

    Whoever may not read the list of programs is told where it lies unless somebody put it elsewhere.
    """
    with contextlib.suppress(EdgeError, OSError):
        known = apps.load(_file(settings))
        if name in known and known[name].file:
            return Path(known[name].file)
    usual = folder(settings) / f"{name}.env"
    systems = SYSTEM_APPS / usual.name
    return systems if places.is_there(systems) and not places.is_there(usual) else usual


def _changing(settings: Settings, what: str) -> files.Lock:
    """One change at a time: each writes all of them."""
    return files.Lock(_file(settings).with_name("apps.lock"), what)


def _file(settings: Settings) -> Path:
    if not settings.state_folder.is_dir():
        raise Failed("add or list programs", f"there is no {settings.state_folder}", "run the agent once: `edgeagent run`")
    return settings.state_folder / "apps.json"


def leaf_url(settings: Settings) -> str:
    """The address of this machine's leaf: the port that it has now, else the one in the settings."""
    with contextlib.suppress(EdgeError):
        found = statuses.read(settings.status_file)
        if found.leaf.port:
            return f"nats://127.0.0.1:{found.leaf.port}"
    return f"nats://127.0.0.1:{settings.leaf.port}"


def _new_key(seed_file: Path, group: str) -> str:
    from edgeagent.trust.nkeys import KeyPair

    key = KeyPair.generate("user")
    _hand_over(seed_file, key.seed + "\n", group)
    return key.public


def _hand_over(path: Path, text: str, group: str) -> None:
    """Write a file of the program's. Its owner is who runs us, also where the folder is another's: what it says is for ``group``."""
    owner = None
    if group:
        try:
            owner = (-1, grp.getgrnam(group).gr_gid)
        except KeyError:
            raise UsageProblem(f"give {path} to the group {group!r}", "there is no such group") from None
    files.make_folder(path.parent, 0o755)
    files.write_atomic(path, text.encode(), 0o640, owner)


async def _tell(settings: Settings) -> bool:
    """Tell the agent, if one runs. Raises what it answers when it can't take the change."""
    login = load(settings.state_folder / "secrets.json")
    if login is None:
        return False  # the agent makes it at its next start
    try:
        client = await connect(
            leaf_url(settings),
            what="tell the agent",
            name="edgeagent app",
            inbox_prefix=f"{CLI_INBOX}.{os.getpid()}",
            password=(AGENT_USER, login.agent),
            reconnect=False,
        )
    except EdgeError:
        return False
    try:
        services.result((await request(client, RELOAD, what="tell the agent", timeout=15)).data, type(None))
    except Unreachable:
        return False
    finally:
        with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
            await client.close()
    return True
