"""What can be done with a hub's keys: look, back up, restore, bring up to date, change the passphrase."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

from edgeagent import files
from edgeagent.assembly.hubmake import owner_file, remembered
from edgeagent.assembly.people import public_keys
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.hub import founding
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyfiles import read_credentials, read_seed
from edgeagent.hub.keyring import HELD, LOGIN_SUFFIX, SEED_SUFFIX, SERVICES, SIGNING_KEY, role_key
from edgeagent.hub.owner import Owner

__all__ = ["Restored", "Updated", "backup", "change_passphrase", "restore", "show", "update"]

#: The keys of the hub's own logins.
_SERVICE_KEYS = {founding.user_key(service): service for service in SERVICES}


def backup(keys: Path, passphrase: str | None, target: Path) -> Owner:
    """Copy the owner's file to ``target``, after proving that it can be read. Raises Refused when there is such a file."""
    owner = Owner.load(keys, passphrase)
    if target.exists():
        raise Refused(f"write {target}", "there is such a file already", "move it away, or name another with --out")
    files.write_atomic(target, files.read_bytes(keys), 0o600)
    return owner


class Restored(NamedTuple):
    """keys: where the owner's file is now. made: what was not there and is now, in words."""

    owner: Owner
    keys: Path
    made: list[str]


def restore(file: Path, passphrase: str | None, place: HubFolder) -> Restored:
    """Put the owner's file in place, and make ``place``'s keys and hub.toml of it, where they are missing.

    Raises Refused when another hub is there, EdgeError when something cannot be read or written.
    """
    owner = Owner.load(file, passphrase)
    keys, made = owner_file(owner.hub), []
    if place.keys.exists():
        owner.check_same(public_keys(place), place.path)
    if keys.exists():
        _check_same_file(owner, file, keys, passphrase)
    else:
        files.make_folder(keys.parent, 0o700)
        files.write_atomic(keys, files.read_bytes(file), 0o600)
        made.append(f"the owner's file {keys}")
    if not place.keys.exists():
        if owner.add_missing():
            owner.save(keys, passphrase, replace=True)
        files.make_folder(place.path, 0o700)
        owner.write_hub(place.path)
        made.append(f"the hub's keys {place.keys}")
    if not place.exists and owner.remembered.options:
        files.write_atomic(place.options_file, owner.remembered.options.encode(), 0o600)
        made.append(f"its options {place.options_file}, as they were when its keys were made or updated")
    return Restored(owner, keys, made)


def _check_same_file(owner: Owner, file: Path, keys: Path, passphrase: str | None) -> None:
    """Raise Refused unless ``keys`` is ``file``, or of the same hub and with the same passphrase."""
    same = files.read_bytes(keys) == files.read_bytes(file)
    if not same and Owner.load(keys, passphrase).public.operator_key != owner.public.operator_key:
        raise Refused(f"restore the owner's file {keys}", "there is that of another hub of the same name", "move it away first")


class Updated(NamedTuple):
    """added: names of keys that were made. changed: something was written."""

    added: list[str]
    changed: bool


def update(keys: Path, passphrase: str | None, place: HubFolder) -> Updated:
    """Make the keys and sign what newer software wants, in the owner's file and then on the hub.

    It also writes anew what somebody changed in the hub's keys. Raises Refused when the file is of another hub.
    """
    owner = Owner.load(keys, passphrase)
    if not place.keys.is_dir():
        raise Failed("update the hub's keys", f"there are none in {place.keys}", "`edgeagent hub keys restore FILE` makes them")
    _check_same_hub(owner, place)
    before, added = owner.remembered, owner.add_missing()
    owner.remembered = remembered(place, place.options())
    if added or owner.remembered != before:
        owner.save(keys, passphrase, replace=True)  # first: a hub must never have a key that its owner lacks
    rewritten = owner.rewrite_hub(place.path)
    return Updated(added, bool(added or rewritten))


def _check_same_hub(owner: Owner, place: HubFolder) -> None:
    """Raise Refused unless the keys in ``place`` are of the owner's hub, as far as they are not damaged."""
    try:
        owner.check_same(public_keys(place), place.path)
    except Failed as error:
        if not any(_seed(place, name) == owner.keys().get(name) for name in HELD):
            why = "no key that can be read there is of that hub"
            raise Refused(error.what, why, "move the folder away, then `edgeagent hub keys restore FILE`") from None


def _seed(place: HubFolder, name: str) -> str:
    """The public key of a seed in ``place``, empty when it cannot be read."""
    with contextlib.suppress(EdgeError):
        return read_seed(place.keys / f"{name}{SEED_SUFFIX}", HELD[name]).public
    return ""


def change_passphrase(keys: Path, old: str | None, new: str | None) -> Owner:
    """Encrypt the owner's file with another passphrase; None: not at all. Backups keep theirs."""
    owner = Owner.load(keys, old)
    owner.save(keys, new, replace=True)
    return owner


def show(place: HubFolder, owner: Owner | None = None) -> list[dict[str, Any]]:
    """Each key: name, public key, and whether the hub has its seed too. The owner has them all.

    owner: with it also whether the two agree: a hub whose folder somebody has changed does not. Raises Failed when there are no keys in ``place``.
    """
    known = owner.keys() if owner else {}
    return [
        {
            "name": name,
            "public": public,
            "hub": name in HELD or name in _SERVICE_KEYS,
            **({"same": known.get(name) == public} if owner else {}),
        }
        for name, public in _public_of(place).items()
    ]


def _public_of(place: HubFolder) -> dict[str, str]:
    public = public_keys(place)
    (signing,) = public.issuers - {public.operator_key}
    return {
        founding.OPERATOR_KEY: public.operator_key,
        SIGNING_KEY: signing,
        **{founding.account_key(name): key for name, key in public.accounts.items()},
        **{role_key(name): key for name, key in public.roles.items()},
        **{key: read_credentials(place.keys / f"{name}{LOGIN_SUFFIX}").public_key for key, name in _SERVICE_KEYS.items()},
    }
