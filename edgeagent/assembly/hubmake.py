"""Making a hub: its folder, its keys, its owner's file, and a context for its first administrator. Whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from edgeagent import context, files, places, wire
from edgeagent.assembly import hubtls
from edgeagent.errors import Refused
from edgeagent.hub import authorities, ownfiles
from edgeagent.hub.address import addresses, local_url
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.owner import Owner, Remembered, check_person
from edgeagent.hub.people import person_of

__all__ = ["check", "make", "owner_file", "remembered"]


def owner_file(hub: str) -> Path:
    """Where the owner's file of the hub called so is, unless it was taken away."""
    return places.owners_folder() / f"{hub}.keys"


def remembered(place: HubFolder, options: HubOptions) -> Remembered:
    """What an owner's file shall know of the hub in ``place``. Raises EdgeError when it cannot be read."""
    return Remembered(
        url=addresses(options).operators,
        authorities=authorities.current(place),
        options=files.read_text(place.options_file),
    )


def check(place: HubFolder, options: HubOptions, admin: str, keys: Path | None = None) -> None:
    """Raise what :func:`make` would raise for what cannot be. Writes nothing. keys: as there."""
    place.check(options)
    if options.tls == "files":
        ownfiles.check(place, options, hubtls.now())
    check_person(admin, "admin")
    what = f"make the hub {options.name!r}"
    if options.name in context.names():
        raise Refused(
            what, "you have a context of that name already", f"choose another --name, or `edgeagent context rm {options.name}`"
        )
    file = keys or owner_file(options.name)
    if places.is_there(file):
        raise Refused(
            what,
            f"there is the owner's file of a hub of that name already: {file}",
            "choose another --name, or move that file to where you keep backups"
            + ("" if place.exists else f"; if `hub init` was broken off, remove it{_and_keys(place)}"),
        )
    if place.keys.exists():  # the same words later would come too late
        raise Refused(what, f"there are keys in {place.keys}, and their owner's file is not at {file}", "name another folder")


def _and_keys(place: HubFolder) -> str:
    return f" and {place.keys}, which nobody uses yet" if places.is_there(place.keys) else ""


def make(
    place: HubFolder, options: HubOptions, admin: str, *, passphrase: str | None, keys: Path | None = None
) -> context.Context:
    """Make a hub in ``place`` and a context for its first administrator, which becomes the current one.

    passphrase: of the owner's file; None does not encrypt it. keys: where that file goes; None: :func:`owner_file`.
    What cannot be is said before anything is written; what was written is removed again when a later step fails. The owner's file comes
    first, so that there are never keys without it, wherever this is broken off.
    """
    check(place, options, admin, keys)
    owner = Owner.create(options.name)
    with contextlib.ExitStack() as undo:
        if not place.path.exists():
            undo.callback(_remove_if_empty, place.path)
        files.make_folder(place.path, 0o700)
        file = keys or owner_file(options.name)
        undo.callback(_unlink, file)
        owner.save(file, passphrase)
        owner.write_hub(place.path)
        undo.callback(shutil.rmtree, place.keys, ignore_errors=True)
        undo.callback(place.options_file.unlink, missing_ok=True)
        place.create(options)
        undo.callback(shutil.rmtree, place.tls, ignore_errors=True)
        hubtls.prepare(place, options)
        owner.remembered = remembered(place, options)
        owner.save(file, passphrase, replace=True)
        login = owner.operator_credentials(admin, "admin")
        undo.callback(place.founder.unlink, missing_ok=True)
        files.write_atomic(place.founder, wire.encode(person_of(login, "admin")), 0o600)
        handed = context.Handover(
            hub=options.name,
            # A certificate of somebody else's names the hub as others reach it.
            url=addresses(options).operators if options.tls == "files" else local_url(options),
            credentials=login.format(),
            authorities=owner.remembered.authorities,
            signers=owner.signers(),
        )
        undo.callback(_forget, options.name)
        made = context.write(options.name, handed, make_current=True)
        undo.pop_all()
    return made


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _forget(name: str) -> None:
    with contextlib.suppress(OSError):  # where it could not be written, it may not be to remove either
        context.remove(name)
