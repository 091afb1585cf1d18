"""Logins of local programs: kept in the state folder, told to the running agent, handed over as an environment file."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgeagent import places
from edgeagent.assembly import logins, mqttlogin
from edgeagent.errors import EdgeError, Refused, UsageProblem
from edgeagent.leaf import apps
from edgeagent.leaf.apps import App
from edgeagent.settings import Settings

__all__ = ["add", "environment_file", "listed", "remove"]

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
    mqtt: bool = False,
    publish: Sequence[str] = (),
    subscribe: Sequence[str] = (),
    group: str = "",
) -> tuple[Path, bool, EdgeError | None]:
    """Give the program ``name`` a login and write its environment file; the file, whether a running agent knows it now, and why the leaf
    takes no MQTT clients though it should (None: it does).

    target: the file; None: ``NAME.env`` in :func:`folder`. nkey: a key instead of a password, its seed beside the file. mqtt: a login for
    MQTT too.
    publish, subscribe: subjects below ``local.`` besides its own. group: of the files, so that the program's user may read them.
    """
    what = f"add the program {name!r}"
    grants = [tuple(map(apps.check_grant, subjects)) for subjects in (publish, subscribe)]
    app = App(name=apps.check_name(name), publish=grants[0], subscribe=grants[1])
    if mqtt:
        app = msgspec.structs.replace(app, mqtt_password=secrets.token_urlsafe(24))
    with logins.changing(settings, what):
        logins.check_free(settings, what, name, but="program")
        target = _add(settings, app, what, target, nkey, group)
    if not mqtt:
        return target, await logins.tell(settings), None
    return target, *await mqttlogin.told(settings)


def _add(settings: Settings, app: App, what: str, target: Path | None, nkey: bool, group: str) -> Path:
    known = apps.load(_file(settings))
    if app.name in known:
        raise Refused(what, "it has a login already", f"`edgeagent app rm {app.name}` takes it away")
    target = (target or folder(settings) / f"{app.name}.env").absolute()
    seed_file = target.with_suffix(".nk") if nkey else None
    logins.refuse_existing(what, target, seed_file)
    if seed_file:
        app = msgspec.structs.replace(app, nkey=_new_key(seed_file, group))
    else:
        app = msgspec.structs.replace(app, password=secrets.token_urlsafe(24))
    app = msgspec.structs.replace(app, file=str(target))
    with contextlib.ExitStack() as undo:
        if seed_file:
            undo.callback(seed_file.unlink)
        text = apps.environment(app, logins.leaf_url(settings), seed_file)
        if app.mqtt_password:
            text += mqttlogin.for_app(settings, app, target.parent).text
        logins.hand_over(target, text, group)
        undo.callback(target.unlink)
        apps.save(_file(settings), {**known, app.name: app})
        undo.pop_all()
    return target


async def remove(settings: Settings, name: str) -> bool:
    """Take the login away, and the files that were written for it; whether a running agent knows it now."""
    what = f"remove the program {name!r}"
    with logins.changing(settings, what):
        known = apps.load(_file(settings))
        if name not in known:
            has = ", ".join(sorted(known)) or "none"
            raise UsageProblem(what, f"it has no login (those that have one: {has})")
        apps.save(_file(settings), {key: app for key, app in known.items() if key != name})
        _take_back(known[name])
    return await logins.tell(settings)


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


def _file(settings: Settings) -> Path:
    return logins.kept(settings, "apps.json")


def _new_key(seed_file: Path, group: str) -> str:
    from edgeagent.trust.nkeys import KeyPair

    key = KeyPair.generate("user")
    logins.hand_over(seed_file, key.seed + "\n", group)
    return key.public
