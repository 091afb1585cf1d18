"""Logins of local programs: kept in the state folder, told to the running agent, handed over as an environment file."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from edgeagent import files, places, services
from edgeagent import status as statuses
from edgeagent.assembly.appsdoor import RELOAD
from edgeagent.errors import EdgeError, Failed, Refused, Unreachable, UsageProblem
from edgeagent.leaf import apps
from edgeagent.leaf.apps import App
from edgeagent.leaf.conf import AGENT_USER
from edgeagent.leaf.secrets import load_or_make
from edgeagent.link import connect, request
from edgeagent.settings import Settings

__all__ = ["add", "listed", "remove"]


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
    known = apps.load(_file(settings))
    if apps.check_name(name) in known:
        raise Refused(what, "it has a login already", f"`edgeagent app rm {name}` takes it away")
    target = (target or folder(settings) / f"{name}.env").absolute()
    if target.exists():
        raise Refused(what, f"{target} is there already", "move it away, or name another with --out")
    grants = [tuple(map(apps.check_grant, subjects)) for subjects in (publish, subscribe)]
    seed_file = target.with_suffix(".nk") if nkey else None
    password, public = ("", _new_key(seed_file, group)) if seed_file else (secrets.token_urlsafe(24), "")
    app = App(name=name, password=password, nkey=public, publish=grants[0], subscribe=grants[1])
    _hand_over(target, apps.environment(app, _url(settings), seed_file), group)
    apps.save(_file(settings), {**known, name: app})
    return target, await _tell(settings)


async def remove(settings: Settings, name: str) -> bool:
    """Take the login away; whether a running agent knows it now. The environment file stays: it opens nothing any more."""
    known = apps.load(_file(settings))
    if name not in known:
        has = ", ".join(sorted(known)) or "none"
        raise UsageProblem(f"remove the program {name!r}", f"it has no login (those that have one: {has})")
    apps.save(_file(settings), {key: app for key, app in known.items() if key != name})
    return await _tell(settings)


def folder(settings: Settings) -> Path:
    """Where environment files go unless told otherwise: the state folder is closed to the programs' users."""
    return places.SYSTEM_SETTINGS.parent / "apps" if settings.is_system else settings.state_folder / "apps"


def _file(settings: Settings) -> Path:
    if not settings.state_folder.is_dir():
        raise Failed("add or list programs", f"there is no {settings.state_folder}", "run the agent once: `edgeagent run`")
    return settings.state_folder / "apps.json"


def _url(settings: Settings) -> str:
    """The leaf's address: the port that it has now, else the one in the settings."""
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
    files.make_folder(path.parent, 0o755)
    files.write_atomic(path, text.encode(), 0o640)
    if group:
        try:
            shutil.chown(path, group=group)
        except (LookupError, OSError) as error:
            path.unlink(missing_ok=True)
            raise UsageProblem(f"give {path} to the group {group!r}", str(error)) from None


async def _tell(settings: Settings) -> bool:
    """Tell the agent, if one runs. Raises what it answers when it can't take the change."""
    secrets_file = settings.state_folder / "secrets.json"
    if not secrets_file.exists():
        return False  # the agent makes it at its first start
    login = load_or_make(secrets_file)
    try:
        client = await connect(
            _url(settings),
            what="tell the agent",
            name="edgeagent app",
            inbox_prefix=f"_INBOX.cli.{os.getpid()}",
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
