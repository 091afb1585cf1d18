"""Making a hub: its folder, or one for each server of a cluster, its keys, its owner's file, and a context for its first administrator. Whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from edgeagent import context, files, places, wire
from edgeagent.assembly import hubcluster, hubtls
from edgeagent.assembly.hubcluster import Member
from edgeagent.errors import Refused
from edgeagent.hub import authorities, ownfiles
from edgeagent.hub.address import addresses, local_url
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.owner import Owner, Remembered, check_person
from edgeagent.hub.people import person_of

__all__ = ["check_all", "make", "make_all", "owner_file", "remembered"]


def owner_file(hub: str) -> Path:
    """Where the owner's file of the hub called so is, unless it was taken away."""
    return places.owners_folder() / f"{hub}.keys"


def remembered(place: HubFolder, options: HubOptions) -> Remembered:
    """What an owner's file shall know of the hub in ``place``. Raises EdgeError when it cannot be read."""
    return Remembered(
        url=addresses(options, place.cluster()).operators,
        authorities=authorities.current(place),
        options=files.read_text(place.options_file),
    )


def check_all(members: Sequence[Member], admin: str, keys: Path | None = None) -> None:
    """Raise what :func:`make_all` would raise for what cannot be. Writes nothing. keys: as there."""
    for member in reversed(members):
        _check_folder(member)
    place, options = members[0][:2]
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
    for place in (member.place for member in members):
        if place.keys.exists():  # the same words later would come too late
            raise Refused(what, f"there are keys in {place.keys}, and their owner's file is not at {file}", "name another folder")


def _check_folder(member: Member) -> None:
    member.place.check(member.options, member.cluster)
    if member.options.tls == "files":
        ownfiles.check(member.place, member.options, hubtls.now())


def _and_keys(place: HubFolder) -> str:
    return f" and {place.keys}, which nobody uses yet" if places.is_there(place.keys) else ""


def make(
    place: HubFolder, options: HubOptions, admin: str, *, passphrase: str | None, keys: Path | None = None
) -> context.Context:
    """:func:`make_all` of a hub of one server."""
    return make_all(hubcluster.alone(place, options), admin, passphrase=passphrase, keys=keys)


def make_all(members: Sequence[Member], admin: str, *, passphrase: str | None, keys: Path | None = None) -> context.Context:
    """Make a hub of these servers and a context for its first administrator, which becomes the current one.

    passphrase: of the owner's file; None does not encrypt it. keys: where that file goes; None: :func:`owner_file`.
    What cannot be is said before anything is written; what was written is removed again when a later step fails. The owner's file comes
    first, so that there are never keys without it, wherever this is broken off.
    """
    check_all(members, admin, keys)
    first, *_ = members
    place, options = first.place, first.options
    owner = Owner.create(options.name)
    with contextlib.ExitStack() as undo:
        for member in members:
            if not member.place.path.exists():
                undo.callback(_remove_if_empty, member.place.path)
            files.make_folder(member.place.path, 0o700)
        file = keys or owner_file(options.name)
        undo.callback(_unlink, file)
        owner.save(file, passphrase)
        for member in reversed(members):  # the first at last: where it is, all are
            undo.callback(shutil.rmtree, member.place.keys, ignore_errors=True)
            owner.write_hub(member.place.path)
            hubcluster.create(member, undo, members[-1])
        owner.remembered = remembered(place, options)
        owner.save(file, passphrase, replace=True)
        login = owner.operator_credentials(admin, "admin")
        undo.callback(place.founder.unlink, missing_ok=True)
        files.write_atomic(place.founder, wire.encode(person_of(login, "admin")), 0o600)
        handed = context.Handover(
            hub=options.name,
            # A certificate of somebody else's names the hub as others reach it.
            url=addresses(options, first.cluster).operators
            if options.tls == "files" or first.cluster.number
            else local_url(options),
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
