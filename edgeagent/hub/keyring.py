"""The keys on the hub's machine, and everything that is signed with them: ``<hub folder>/keys``.

The hub signs accounts (with a signing key of the operator's), devices, claim tokens and renewals, and signs in as its own services.
What it lacks are the operator itself, the accounts, and the roles of people: who breaks into the hub can let devices in and lock
them out, but cannot command one. Those keys are in the owner's file (:mod:`edgeagent.hub.owner`).
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from edgeagent import subjects
from edgeagent.errors import EdgeError, Failed, UsageProblem
from edgeagent.hub import accounts, publickeys, roles
from edgeagent.hub.conf import DOMAIN
from edgeagent.hub.keyfiles import MEND, check_private, read_credentials, read_public, read_seed
from edgeagent.hub.publickeys import PublicKeys
from edgeagent.trust import jwt
from edgeagent.trust.creds import GROUP_TAG, Credentials
from edgeagent.trust.nkeys import KeyPair, Kind, is_public

__all__ = [
    "DEVICE_SECONDS",
    "HELD",
    "LOGIN_SUFFIX",
    "PRELOAD_ISSUED_AT",
    "PUBLIC_FILE",
    "SEED_SUFFIX",
    "SERVICES",
    "SIGNING_KEY",
    "Keyring",
    "Service",
    "check_device",
    "role_key",
]

Service = Literal["hub", "sys", "provision", "fleet"]
SERVICES: dict[Service, accounts.Account] = {"hub": "HUB", "sys": "SYS", "provision": "PROVISION", "fleet": "FLEET"}

DAY_SECONDS = 86_400
#: How long a device's credentials are good unless told otherwise. It renews them itself, and `edgeagent device add --renew` makes new ones.
DEVICE_SECONDS = 90 * DAY_SECONDS
#: 2020-01-01: older than anything that was ever pushed to a resolver, so that what was pushed wins.
PRELOAD_ISSUED_AT = 1_577_836_800

SIGNING_KEY = "operator-signing"
#: Whose signatures devices follow.
_SIGNERS: tuple[roles.Role, ...] = ("operator", "admin", "group-operator")
_HELD_ROLES: tuple[roles.Role, ...] = ("device", "provision", "renewal")


def role_key(role: str) -> str:
    """The name of a role's signing key in files."""
    return f"role-{role}"


#: The seeds on the hub: the file's name without its suffix, and the kind of the key. No others belong there.
HELD: dict[str, Kind] = {SIGNING_KEY: "operator", **{role_key(role): "account" for role in _HELD_ROLES}}
SEED_SUFFIX, LOGIN_SUFFIX, PUBLIC_FILE = ".nk", ".creds", "public.json"


class Keyring:
    """Signs what the hub and its devices need. Times that are not given are the system clock's, in Unix seconds."""

    def __init__(self, public: PublicKeys, keys: Mapping[str, KeyPair], services: Mapping[Service, Credentials]) -> None:
        """keys: by name, at least those of :data:`HELD`."""
        self._public, self._keys, self._services = public, dict(keys), dict(services)

    @classmethod
    def load(cls, hub_folder: Path) -> Keyring:
        """Read ``<hub_folder>/keys``.

        Raises Failed when a key is missing, damaged or not of this hub, Refused when others can read one or they are too old.
        """
        folder = hub_folder / "keys"
        if not folder.is_dir():
            raise Failed(
                "read the hub's keys",
                f"there are none in {folder}",
                "make the hub with `edgeagent hub init`, or restore them: `edgeagent hub keys restore FILE`",
            )
        check_private(folder)
        path = folder / PUBLIC_FILE
        public = publickeys.decode(read_public(path), path)
        public.check_complete()  # first: newer software also wants files that are not there yet
        keys = {name: read_seed(folder / (name + SEED_SUFFIX), kind) for name, kind in HELD.items()}
        services = {name: read_credentials(folder / (name + LOGIN_SUFFIX)) for name in SERVICES}
        keyring = Keyring(public, keys, services)
        keyring._check(path)
        return keyring

    def _check(self, path: Path) -> None:
        """That all the files are of one hub, so that what does not fit is said here and not by a server that keeps silent."""
        problem = self._public.problem() or self._stranger()
        if problem:
            raise Failed(f"use the keys {path}", problem, MEND)

    def _stranger(self) -> str:
        try:
            if self._keys[SIGNING_KEY].public not in self.issuers():
                return f"the operator's JWT does not name the key {SIGNING_KEY}"
            for role in _HELD_ROLES:
                if self._keys[role_key(role)].public != self.role_public(role):
                    return f"it names another key for the role {role} than the one beside it"
            for service, account in SERVICES.items():
                jwt.decode(self._services[service].jwt, issuers=[self.account_public(account)])
        except EdgeError as error:
            return error.why
        return ""

    def account_public(self, account: accounts.Account) -> str:
        return self._public.account(account)

    def role_public(self, role: roles.Role) -> str:
        return self._public.role(role)

    @property
    def public(self) -> PublicKeys:
        """What everybody may know."""
        return self._public

    def signers(self) -> dict[str, str]:
        """``{public role key: role}`` of those whose signatures devices follow."""
        return {self.role_public(role): role for role in _SIGNERS}

    def issuers(self) -> frozenset[str]:
        """Who may have signed an account of this hub."""
        return self._public.issuers

    def operator_jwt(self) -> str:
        """For the ``operator`` line of the hub's configuration: signed by the operator, it names the key that signs accounts."""
        return self._public.operator

    def account_jwts(
        self,
        *,
        micro: bool = True,
        revocations: Mapping[str, Mapping[str, int]] | None = None,
        issued_at: int | None = None,
    ) -> dict[accounts.Account, tuple[str, str]]:
        """``{account: (public key, JWT)}``, for ``resolver_preload`` or to be pushed; the same for the same arguments.

        micro: the fleet answers NATS's micro protocol (below about 500 devices).
        revocations: by account, ``{public user key: Unix seconds}``; what that user was issued until then is refused.
        issued_at: None is now; :data:`PRELOAD_ISSUED_AT` for ``resolver_preload``.
        """
        publics = {name: self.account_public(name) for name in accounts.ACCOUNTS}
        role_keys = {role: self.role_public(role) for role in roles.ROLES}
        tokens = self._public.tokens(accounts.grants(micro=micro))
        when = _now() if issued_at is None else issued_at
        signed: dict[accounts.Account, tuple[str, str]] = {}
        for name, public in publics.items():
            claims = accounts.claims(name, publics=publics, role_keys=role_keys, tokens=tokens, micro=micro)
            revoked = (revocations or {}).get(name)
            token = jwt.account(self._keys[SIGNING_KEY], subject=public, name=name, issued_at=when, revocations=revoked, **claims)
            signed[name] = public, token
        return signed

    def with_revocations(self, account: jwt.Claims, revocations: Mapping[str, int], issued_at: int) -> str:
        """The same account with only other users kept out; all else as it is. account: the claims of one of this hub."""
        nats = {key: value for key, value in account["nats"].items() if key != "revocations"}
        if revocations:
            nats["revocations"] = dict(revocations)
        signer = self._keys[SIGNING_KEY]
        return jwt.encode(signer, subject=account["sub"], name=account["name"], nats=nats, issued_at=issued_at)

    def route_secret(self) -> str:
        """What the servers of a cluster know and nobody else: made of a key that all of them have, so there is none to copy or to lose."""
        return hmac.new(self._keys[SIGNING_KEY].seed.encode(), b"edgeagent routes 1", hashlib.sha256).hexdigest()

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
        self,
        device_id: str,
        groups: Sequence[str],
        public: str,
        expires_in_seconds: float | None = DEVICE_SECONDS,
        issued_at: int | None = None,
    ) -> str:
        """Like :meth:`device_credentials`, for a key that never leaves the device. issued_at: None is now; it expires so long after it.

        Raises UsageProblem for bad names or keys.
        """
        what = f"make credentials for {device_id!r}"
        try:
            check_device(device_id)
            tags = [f"{GROUP_TAG}:{subjects.check_group(group)}" for group in groups]
        except ValueError as error:
            raise UsageProblem(what, str(error)) from None
        return self._scoped("device", device_id, public, expires_in_seconds, tags, issued_at)

    def renewal_jwt(self, device_id: str, public: str) -> str:
        """The login, which never expires, with which the device of that key can only ask for another JWT. Raises as :meth:`device_jwt`."""
        try:
            check_device(device_id)
        except ValueError as error:
            raise UsageProblem(f"make credentials for {device_id!r}", str(error)) from None
        return self._scoped("renewal", device_id, public, None)

    def claim_jwt(self, token_id: str, expires_in_seconds: float) -> str:
        """A login for whoever has it: the JWT is all, nobody has its key, which is the same whenever the token is asked for. Raises
        UsageProblem for a bad id."""
        if not subjects.is_token(token_id):
            raise UsageProblem(f"make the token {token_id!r}", "an id is 1 to 64 of A-Z, a-z, 0-9, '-' and '_'")
        words = f"edgeagent claim token 1 {token_id}".encode()
        key = KeyPair("user", hmac.digest(self._keys[SIGNING_KEY].seed.encode(), words, "sha256"))
        return self._scoped("provision", token_id, key.public, expires_in_seconds)

    def service_credentials(self, service: Service) -> Credentials:
        """A login of the hub's own. It never expires: the hub comes back after any pause.

        It has every right in HUB, SYS or PROVISION, but in FLEET only those of :data:`edgeagent.hub.interest.RIGHTS`.
        """
        return self._services[service]

    def _scoped(
        self,
        role: roles.Role,
        name: str,
        public: str,
        seconds: float | None,
        tags: Sequence[str] = (),
        issued_at: int | None = None,
    ) -> str:
        if not is_public(public, "user"):
            raise UsageProblem(f"make credentials for {name!r}", f"{public!r} is no public user key")
        when = _now() if issued_at is None else issued_at
        return jwt.scoped_user(
            self._keys[role_key(role)],
            subject=public,
            name=name,
            account=self.account_public(accounts.ROLE_ACCOUNT[role]),
            issued_at=when,
            expires_at=None if seconds is None else int(when + seconds),
            tags=tags,
        )


def check_device(device_id: str) -> None:
    """Raise ValueError unless a device may be called so."""
    subjects.check_id(device_id)
    if device_id == DOMAIN:
        raise ValueError(f"{device_id!r} is the hub's own JetStream domain; a device's is its id")


def _now() -> int:
    return int(time.time())
