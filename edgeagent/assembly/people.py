"""Letting people in: the owner signs them a login and hands it over in one file, which they import where they work."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeagent import context, files, places
from edgeagent.context import Context, Handover
from edgeagent.errors import EdgeError, Refused, UsageProblem
from edgeagent.hub import authorities, loginfile
from edgeagent.hub.address import addresses
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import PUBLIC_FILE
from edgeagent.hub.owner import PERSON_SECONDS, Owner
from edgeagent.hub.publickeys import PublicKeys, decode
from edgeagent.hub.roles import PersonRole
from edgeagent.trust import creds
from edgeagent.trust.creds import Credentials

__all__ = ["Person", "Reached", "accept", "add_operator", "find_keys", "public_keys", "reached", "sign", "write_credentials"]


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who is let in. groups, actions: as for :meth:`~edgeagent.hub.owner.Owner.operator_credentials`."""

    name: str
    role: PersonRole
    groups: Sequence[str] = ()
    actions: Sequence[str] = ()
    expires_in_seconds: float | None = PERSON_SECONDS


@dataclass(frozen=True, kw_only=True)
class Reached:
    """Where people reach the hub, with which certificate authorities (PEM, empty: the system's). note: what to know of it."""

    url: str
    authorities: str = ""
    note: str = ""


def find_keys(place: HubFolder) -> Path:
    """The owner's file that is meant when none is named: that of the hub in ``place``, else the only one that there is.

    Raises UsageProblem when that is not one. The file of a hub may have been taken away.
    """
    folder = places.owners_folder()
    if place.exists:
        return folder / f"{place.options().name}.keys"
    found = sorted(folder.glob("*.keys"))
    if len(found) != 1:
        known = ", ".join(str(path) for path in found) or f"there is none in {folder}"
        raise UsageProblem("find the owner's file", f"there is no hub in {place.path}, and {known}", "name it with --keys FILE")
    return found[0]


def public_keys(place: HubFolder) -> PublicKeys:
    """The public keys of the hub in ``place``. Raises Failed when they are missing or damaged."""
    path = place.keys / PUBLIC_FILE
    return decode(files.read_bytes(path), path)


def reached(owner: Owner, place: HubFolder, url: str = "") -> Reached:
    """How people reach the hub: ``url`` if given, else as its folder in ``place`` says, else as the owner's file remembers.

    Raises Refused when the hub in ``place`` is another one, UsageProblem when nothing says it.
    """
    if place.exists:
        owner.check_same(public_keys(place), place.path)
        urls = addresses(place.options(), place.cluster())
        return Reached(url=url or urls.operators, authorities=authorities.current(place), note="" if url else urls.note)
    if not (url or owner.remembered.url):
        raise UsageProblem(
            "say where people reach the hub", "neither its folder nor its owner's file is known to say it", "use --url"
        )
    return Reached(url=url or owner.remembered.url, authorities=owner.remembered.authorities)


def sign(owner: Owner, person: Person) -> Credentials:
    """A login for ``person``. Raises UsageProblem for what it cannot be."""
    return owner.operator_credentials(
        person.name,
        person.role,
        groups=person.groups,
        actions=person.actions,
        expires_in_seconds=person.expires_in_seconds,
    )


def add_operator(owner: Owner, person: Person, where: Reached, target: Path) -> Credentials:
    """Write the file to hand over to ``target``, which may be an older one of the same person. Raises EdgeError."""
    login = sign(owner, person)
    there = files.read_if_there(target)
    if there is not None and not loginfile.same_user(_credentials_in(there, target), login):
        raise Refused(
            f"write {target}",
            f"there is such a file already, and it was not made for {person.name} by this hub",
            "move it away, or name another with --out",
        )
    handed = Handover(
        hub=owner.hub, url=where.url, credentials=login.format(), authorities=where.authorities, signers=owner.signers()
    )
    files.write_atomic(target, handed.format(), 0o600)
    return login


def write_credentials(owner: Owner, person: Person, where: Reached, target: Path) -> Credentials:
    """The same as plain credentials, for other tools of NATS's, which are told ``where`` by other ways."""
    login = sign(owner, person)
    loginfile.check_replaceable(target, login)
    files.write_atomic(target, login.format().encode(), 0o600)
    return login


def _credentials_in(data: bytes, path: Path) -> str:
    with contextlib.suppress(EdgeError):
        return Handover.parse(data, path).credentials
    return ""


def accept(path: Path, name: str | None = None) -> Context:
    """Make the context that is in ``path``, called ``name`` or like the hub, and choose it.

    One that is there is replaced when it is of the same person at the same hub: that renews it.
    Raises Failed when the file is none or somebody changed it, Refused when there is another context of that name.
    """
    handed = Handover.parse(files.read_bytes(path), path)
    login, name = creds.parse(handed.credentials), name or handed.hub
    if name in context.names() and not loginfile.same_user(_credentials_of(name), login):
        raise Refused(
            f"import {path}",
            f"you have a context {name!r} already, and it is not of {login.name} at this hub",
            f"choose another --name, or `edgeagent context rm {name}`",
        )
    return context.write(name, handed, make_current=True)


def _credentials_of(name: str) -> str:
    """What the context of that name uses now; empty when that can't be read."""
    with contextlib.suppress(EdgeError):
        return files.read_text(Path(context.load(name).credentials))
    return ""
