"""Every key of a hub: the operator itself, its accounts, its roles. One file of the hub's owner, encrypted, to be kept away from the hub.

The hub's own folder gets of it what a hub needs every day (:mod:`edgeagent.hub.keyring`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from edgeagent import files, subjects
from edgeagent.errors import EdgeError, Failed, Refused, UsageProblem
from edgeagent.hub import founding, keyfiles, ownerfile, publickeys, roles
from edgeagent.hub.keyring import (
    DAY_SECONDS,
    HELD,
    LOGIN_SUFFIX,
    PUBLIC_FILE,
    SEED_SUFFIX,
    SERVICES,
    SIGNING_KEY,
    Keyring,
    role_key,
)
from edgeagent.hub.publickeys import PublicKeys
from edgeagent.trust.creds import ACTION_TAG, GROUP_TAG, UPLOAD_TAG, Credentials
from edgeagent.trust.nkeys import KeyPair

__all__ = ["PERSON_SECONDS", "Owner", "Remembered", "check_person"]

#: How long a person's credentials are good unless told otherwise: short, because a laptop may be stolen.
PERSON_SECONDS = 30 * DAY_SECONDS
#: The actions for which people upload something.
_UPLOADING = ("agent.upgrade", "file.push", "mcu.update")
_ACTION = re.compile(r"[a-z0-9._*-]{1,64}\Z")


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What helps to let people in, or to make the hub again, where its folder is not at hand. All are empty when not known.

    url: where people reach the hub. authorities: PEM. options: the text of hub.toml.
    """

    url: str = ""
    authorities: str = ""
    options: str = ""


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    hub: str
    seeds: dict[str, str]
    remembered: Remembered = Remembered()
    exchanged: int = 0


class Owner(Keyring):
    """Can do all that a Keyring can, and signs people. The text form shows no seed."""

    def __init__(self, hub: str, seeds: Mapping[str, KeyPair], remembered: Remembered | None = None, exchanged: int = 0) -> None:
        self.hub, self._seeds = hub, dict(seeds)
        #: How often a role has got a new key.
        self.exchanged = exchanged
        self.remembered = remembered or Remembered()
        self._derive()

    def _derive(self) -> None:
        public = msgspec.structs.replace(founding.public(self.hub, self._seeds), exchanged=self.exchanged)
        super().__init__(public, self._seeds, founding.services(self._seeds))

    @classmethod
    def create(cls, hub: str) -> Owner:
        """New keys for a hub called so, in memory."""
        return cls(hub, {name: KeyPair.generate(kind) for name, kind in founding.KEYS.items()})

    @classmethod
    def load(cls, path: Path, passphrase: str | None) -> Owner:  # type: ignore[override]  # another file needs other words
        """Read an owner's file. passphrase: not looked at when the file is not encrypted.

        Raises Failed when the file is missing, damaged or none, Refused when others can read it or the passphrase is wrong.
        """
        what = f"read the owner's file {path}"
        data = _bytes(path, what)
        keyfiles.check_private(path)
        hub, text = ownerfile.unseal(data, passphrase, what)
        try:
            body = msgspec.json.decode(text, type=_Body)
            seeds = {name: KeyPair.from_seed(seed) for name, seed in body.seeds.items()}
        except (msgspec.DecodeError, EdgeError):
            raise Failed(what, "its body is damaged", "take a backup of it") from None
        if body.hub != hub:
            raise Refused(what, f"it says that it is of the hub {hub!r}, but its keys are of {body.hub!r}", "take a backup of it")
        wrong = [name for name, kind in founding.KEYS.items() if name in seeds and seeds[name].kind != kind]
        wrong += [name for name in (founding.OPERATOR_KEY, SIGNING_KEY, founding.account_key("SYS")) if name not in seeds]
        if wrong:
            raise Failed(what, f"the key {wrong[0]} is missing or of another kind", "take a backup of it")
        return cls(hub, seeds, body.remembered, body.exchanged)

    def save(self, path: Path, passphrase: str | None, *, replace: bool = False) -> None:
        """Write the file. passphrase: None does not encrypt it. Raises Refused when there is one already, unless ``replace``."""
        files.make_folder(path.parent, 0o700)
        if path.exists() and not replace:
            raise Refused(
                f"write the owner's file {path}",
                "there is one already",
                "move it away; if it is of a hub that is in use, nothing can replace it",
            )
        body = _Body(
            hub=self.hub,
            seeds={name: key.seed for name, key in self._seeds.items()},
            remembered=self.remembered,
            exchanged=self.exchanged,
        )
        files.write_atomic(path, ownerfile.seal(self.hub, msgspec.json.encode(body), passphrase), 0o600)

    def write_hub(self, hub_folder: Path) -> None:
        """Write what the hub needs into ``<hub_folder>/keys``, whole or not at all. Raises Refused when there are keys already."""
        keyfiles.write_new(hub_folder / "keys", self._hub_files())

    def rewrite_hub(self, hub_folder: Path) -> list[str]:
        """The same into a folder that is there, each file at once, the public keys last; which ones changed. Raises EdgeError."""
        return keyfiles.replace(hub_folder / "keys", self._hub_files())

    def _hub_files(self) -> dict[str, str]:
        self.public.check_complete()
        seeds = {name + SEED_SUFFIX: self._seeds[name].seed for name in HELD}
        logins = {name + LOGIN_SUFFIX: self.service_credentials(name).format().rstrip("\n") for name in SERVICES}
        return {**seeds, **logins, PUBLIC_FILE: publickeys.encode(self.public)}

    def key(self, name: str) -> KeyPair:
        """A key by its name: ``operator``, ``account-HUB``, ``role-admin`` and so on. Raises KeyError."""
        return self._seeds[name]

    def keys(self) -> dict[str, str]:
        """``{name: public key}`` of every one."""
        return {name: key.public for name, key in self._seeds.items()}

    def add_missing(self) -> list[str]:
        """Make the keys that newer software wants, and sign what crosses; the names of those keys."""
        missing = [name for name in founding.KEYS if name not in self._seeds]
        self._seeds.update({name: KeyPair.generate(founding.KEYS[name]) for name in missing})
        self._derive()
        return missing

    def begin_rotation(self, role: roles.Role) -> bool:
        """Give ``role`` a new key, and keep the old one until :meth:`end_rotation`; False when that was begun already."""
        if _old(role) in self._seeds:
            return False
        self._seeds[_old(role)] = self._seeds[role_key(role)]
        self._seeds[role_key(role)] = KeyPair.generate("account")
        self.exchanged += 1
        self._derive()
        return True

    def before_rotation(self, role: roles.Role) -> Owner:
        """The same owner with the role's old key."""
        return Owner(self.hub, {**self._seeds, role_key(role): self._seeds[_old(role)]}, self.remembered, self.exchanged)

    def end_rotation(self, role: roles.Role) -> None:
        """Forget the role's old key."""
        self._seeds.pop(_old(role), None)

    def check_same(self, public: PublicKeys, where: Path) -> None:
        """Raise Refused when ``public``, which was found in ``where``, is of another hub, Failed when it is damaged."""
        try:
            same = public.operator_key == self.public.operator_key
        except EdgeError as error:
            raise Failed(f"read the keys of the hub in {where}", error.why, keyfiles.MEND) from None
        if not same:
            raise Refused(
                f"use the owner's file of the hub {self.hub!r}",
                f"the hub in {where} is another one",
                "name its own file with --keys",
            )
        if self.exchanged < public.exchanged:
            raise Refused(
                f"use this owner's file of the hub {self.hub!r}",
                f"a role's key was exchanged since it was made ({public.exchanged - self.exchanged} times), and it would bring the old one back",
                "take a newer backup, made after `edgeagent hub keys rotate`",
            )

    def operator_credentials(
        self,
        name: str,
        role: roles.PersonRole,
        *,
        groups: Sequence[str] = (),
        actions: Sequence[str] = (),
        expires_in_seconds: float | None = PERSON_SECONDS,
    ) -> Credentials:
        """A person's login to OPS.

        groups: whose devices alone the person may address; none means all. actions: what the person's commands may name, as globs
        (``service.*``); none means everything.
        Raises UsageProblem for a name that can't be a token of a subject, an unknown role, or limits that the role cannot have.
        """
        check_person(name, role, groups, actions)
        signer: roles.Role = roles.LIMITED[role] if groups else role
        tags = [*[f"{GROUP_TAG}:{group}" for group in groups], *[f"{ACTION_TAG}:{action}" for action in actions]]
        tags += [f"{UPLOAD_TAG}:*"] if role != "viewer" and _may_push(actions) else []
        self.role_public(signer)  # says what to do when the file is older than the role
        key = KeyPair.generate("user")
        return Credentials(self._scoped(signer, name, key.public, expires_in_seconds, tags), key.seed)


def _old(role: roles.Role) -> str:
    """The name of a role's key that is being exchanged."""
    return f"old-{role_key(role)}"


def _may_push(actions: Sequence[str]) -> bool:
    """Whether a login that is limited to these actions may give a command that uploads are for."""
    return not actions or any(fnmatchcase(name, pattern) for name in _UPLOADING for pattern in actions)


def check_person(name: str, role: str, groups: Sequence[str] = (), actions: Sequence[str] = ()) -> None:
    """Raise UsageProblem unless a person may be called ``name`` and have ``role``, limited so."""
    what = f"make credentials for {name!r}"
    if not subjects.is_token(name):
        raise UsageProblem(what, "a user's name is 1 to 64 of A-Z, a-z, 0-9, '-' and '_'")
    if role not in roles.PEOPLE:
        raise UsageProblem(what, f"there is no role {role!r} for people", f"take one of {', '.join(roles.PEOPLE)}")
    if groups and role not in roles.LIMITED:
        raise UsageProblem(what, f"the role {role} cannot be limited to groups", f"take one of {', '.join(roles.LIMITED)}")
    if actions and role == "viewer":
        raise UsageProblem(what, "a viewer gives no commands, so there are no actions to limit")
    for group in groups:
        if not subjects.is_id(group):
            raise UsageProblem(what, f"{group!r} is no name of a group", f"it has {subjects.ID_RULE}")
    for action in actions:
        if not _ACTION.match(action):
            raise UsageProblem(what, f"{action!r} names no actions", "it has 1 to 64 of a-z, 0-9, '.', '_', '-' and '*'")


def _bytes(path: Path, what: str) -> bytes:
    data = files.read_if_there(path)
    if data is None:
        raise Failed(what, "there is no such file", "bring it from where you keep it, or name it with --keys")
    return data
