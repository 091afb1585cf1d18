"""The hub's keys on disk, and everything that is signed with them.

One seed a file below ``<hub folder>/keys``, so that the operator's root and the people's role keys can be taken away to a safe
place file by file. Only the owner can read the folder; it is made whole or not at all, and never overwritten.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from edgeagent import subjects
from edgeagent.errors import EdgeError, Failed, Refused, UsageProblem
from edgeagent.hub import accounts, roles
from edgeagent.hub.conf import DOMAIN
from edgeagent.trust import jwt
from edgeagent.trust.creds import GROUP_TAG, Credentials
from edgeagent.trust.nkeys import KeyPair, Kind, is_public

__all__ = ["DEVICE_SECONDS", "PERSON_SECONDS", "Keyring", "Service", "check_device", "check_person"]

Service = Literal["hub", "sys", "admin"]

DAY_SECONDS = 86_400
#: How long credentials are good unless told otherwise. `edgeagent device add --renew` and `edgeagent operator add` make new ones.
#: A person's are short because a laptop may be stolen.
DEVICE_SECONDS = 90 * DAY_SECONDS
PERSON_SECONDS = 30 * DAY_SECONDS

_OPERATOR_NAME = "edgeagent"
_SERVICE_ACCOUNT: dict[Service, accounts.Account] = {"hub": "HUB", "admin": "HUB", "sys": "SYS"}

#: Every file of the folder, without its suffix, and the kind of its key.
_FILES: dict[str, Kind] = {
    "operator": "operator",
    **{f"account-{name}": "account" for name in accounts.ACCOUNTS},
    **{f"role-{role}": "account" for role in roles.ROLES},
    "user-hub": "user",
    "user-sys": "user",
}
_SUFFIX = ".nk"


class Keyring:
    """Signs what the hub, its people and its devices need. All times are the system clock's."""

    def __init__(self, keys: Mapping[str, KeyPair]) -> None:
        self._keys = dict(keys)

    @classmethod
    def create(cls, hub_folder: Path) -> Keyring:
        """Make new keys in ``<hub_folder>/keys``. Raises Refused when there are some already."""
        keys = {name: KeyPair.generate(kind) for name, kind in _FILES.items()}
        _write(hub_folder, keys)
        return cls(keys)

    @classmethod
    def load(cls, hub_folder: Path) -> Keyring:
        """Read ``<hub_folder>/keys``. Raises Failed when a key is missing or damaged, Refused when others can read one."""
        folder = hub_folder / "keys"
        if not folder.is_dir():
            raise Failed(
                "read the hub's keys",
                f"there are none in {folder}",
                "make the hub with `edgeagent hub init`, or restore them from your backup",
            )
        _check_private(folder)
        return cls({name: _read(folder / (name + _SUFFIX), kind) for name, kind in _FILES.items()})

    def account_public(self, account: accounts.Account) -> str:
        return self._account(account).public

    def role_public(self, role: roles.Role) -> str:
        return self._role(role).public

    def operator_jwt(self) -> str:
        """For the ``operator`` line of the hub's configuration."""
        system = self.account_public("SYS")
        return jwt.operator(self._keys["operator"], name=_OPERATOR_NAME, system_account=system, issued_at=_now())

    def account_jwts(
        self, *, micro: bool = True, revocations: Mapping[str, Mapping[str, int]] | None = None
    ) -> dict[accounts.Account, tuple[str, str]]:
        """``{account: (public key, JWT)}``, for ``resolver_preload`` or to be pushed.

        micro: the fleet answers NATS's micro protocol (below about 500 devices).
        revocations: by account, ``{public user key: Unix seconds}``; what that user was issued until then is refused.
        """
        publics = {name: self.account_public(name) for name in accounts.ACCOUNTS}
        role_keys = {role: self.role_public(role) for role in roles.ROLES}
        tokens = {grant: self._activation(grant) for grant in accounts.grants(micro=micro)}
        signed: dict[accounts.Account, tuple[str, str]] = {}
        for name in accounts.ACCOUNTS:
            claims = accounts.claims(name, publics=publics, role_keys=role_keys, tokens=tokens, micro=micro)
            token = jwt.account(
                self._keys["operator"],
                subject=publics[name],
                name=name,
                issued_at=_now(),
                revocations=(revocations or {}).get(name),
                **claims,
            )
            signed[name] = publics[name], token
        return signed

    def device_credentials(
        self,
        device_id: str,
        groups: Sequence[str] = (),
        key: KeyPair | None = None,
        expires_in_seconds: float | None = DEVICE_SECONDS,
    ) -> Credentials:
        """A device's login. groups: in the order in which their config applies. key: None makes a new one.

        expires_in_seconds: None for never, which also means that a revocation of it can never be forgotten.
        """
        key = key or KeyPair.generate("user")
        return Credentials(self.device_jwt(device_id, groups, key.public, expires_in_seconds), key.seed)

    def device_jwt(
        self, device_id: str, groups: Sequence[str], public: str, expires_in_seconds: float | None = DEVICE_SECONDS
    ) -> str:
        """Like :meth:`device_credentials`, for a key that never leaves the device. Raises UsageProblem for bad names or keys."""
        what = f"make credentials for {device_id!r}"
        try:
            check_device(device_id)
            tags = [f"{GROUP_TAG}:{subjects.check_group(group)}" for group in groups]
        except ValueError as error:
            raise UsageProblem(what, str(error)) from None
        if not is_public(public, "user"):
            raise UsageProblem(what, f"{public!r} is no public user key")
        return self._scoped("device", device_id, public, expires_in_seconds, tags)

    def operator_credentials(
        self, name: str, role: roles.PersonRole, expires_in_seconds: float | None = PERSON_SECONDS
    ) -> Credentials:
        """A person's login to OPS. Raises UsageProblem for a name that can't be a token of a subject, or an unknown role."""
        check_person(name, role)
        key = KeyPair.generate("user")
        return Credentials(self._scoped(role, name, key.public, expires_in_seconds, ()), key.seed)

    def service_credentials(self, service: Service) -> Credentials:
        """A login to HUB or SYS with every right there.

        ``hub`` and ``sys`` are the hub's own and never expire: it must come back by itself after any pause. ``admin`` is a person's
        login to HUB, with a new key each time, and expires like a person's.
        """
        key = self._keys.get(f"user-{service}") or KeyPair.generate("user")
        account = self._account(_SERVICE_ACCOUNT[service])
        expires = _expiry(PERSON_SECONDS) if service == "admin" else None
        token = jwt.user(
            account,
            subject=key.public,
            name=service,
            account=account.public,
            issued_at=_now(),
            expires_at=expires,
            connection_types=("STANDARD", "WEBSOCKET"),
        )
        return Credentials(token, key.seed)

    def _account(self, account: accounts.Account) -> KeyPair:
        return self._keys[f"account-{account}"]

    def _role(self, role: roles.Role) -> KeyPair:
        return self._keys[f"role-{role}"]

    def _scoped(self, role: roles.Role, name: str, public: str, seconds: float | None, tags: Sequence[str]) -> str:
        account = self.account_public(accounts.ROLE_ACCOUNT[role])
        return jwt.scoped_user(
            self._role(role), subject=public, name=name, account=account, issued_at=_now(), expires_at=_expiry(seconds), tags=tags
        )

    def _activation(self, grant: accounts.Grant) -> str:
        importer = self.account_public(grant.importer)
        exporter = self._account(grant.exporter)
        return jwt.activation(exporter, importer=importer, subject=grant.subject, kind=grant.kind, issued_at=_now())


def check_device(device_id: str) -> None:
    """Raise ValueError unless a device may be called so."""
    subjects.check_id(device_id)
    if device_id == DOMAIN:
        raise ValueError(f"{device_id!r} is the hub's own JetStream domain; a device's is its id")


def check_person(name: str, role: str) -> None:
    """Raise UsageProblem unless a person may be called ``name`` and have ``role``."""
    what = f"make credentials for {name!r}"
    if not subjects.is_token(name):
        raise UsageProblem(what, "a user's name is 1 to 64 of A-Z, a-z, 0-9, '-' and '_'")
    if role not in roles.PEOPLE:
        raise UsageProblem(what, f"there is no role {role!r} for people", f"take one of {', '.join(roles.PEOPLE)}")


def _now() -> int:
    return int(time.time())


def _expiry(seconds: float | None) -> int | None:
    return None if seconds is None else int(time.time() + seconds)


def _write(hub_folder: Path, keys: Mapping[str, KeyPair]) -> None:
    """Write all seeds beside their place and rename the folder: a crash leaves no half of it, and a full one is never replaced."""
    folder = hub_folder / "keys"
    what = f"make keys in {folder}"
    if folder.exists():
        raise Refused(what, "there are some already", "they would be lost, and with them every device; name another folder")
    try:
        hub_folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".keys-", dir=hub_folder))  # mode 0700
    except OSError as error:
        raise Failed(what, str(error)) from None
    try:
        for name, key in keys.items():
            _write_seed(draft / (name + _SUFFIX), key.seed)
        draft.rename(folder)
        _sync_folder(hub_folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise Failed(what, str(error)) from None


def _write_seed(path: Path, seed: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(seed + "\n")
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path, kind: Kind) -> KeyPair:
    what = f"read the key {path}"
    restore = "restore it from your backup of the hub's keys"
    try:
        seed = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise Failed(what, "there is no such file", restore) from None
    except PermissionError:
        raise Refused(what, "this user may not", "run as the user that made the hub") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(what, str(error), restore) from None
    _check_private(path)
    try:
        key = KeyPair.from_seed(seed)
    except EdgeError as error:
        raise Failed(what, error.why, restore) from None
    if key.kind != kind:
        raise Failed(what, f"it is the key of {_an(key.kind)}, not of {_an(kind)}", restore)
    return key


def _check_private(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        private = "700" if path.is_dir() else "600"
        raise Refused(f"read {path}", f"others on this machine can read it (mode {mode:04o})", f"`chmod {private} {path}`")


def _an(kind: Kind) -> str:
    return f"{'a' if kind in ('user', 'server') else 'an'} {kind}"
