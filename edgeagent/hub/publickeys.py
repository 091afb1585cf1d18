"""What everybody may know of a hub's keys, and what its owner signed with those that the hub does not have. Pure.

It is one file, ``<hub folder>/keys/public.json``. Whoever can write it can let strangers in, as anyone can who has the hub's
signing key beside it. He cannot command a device that is enrolled: it pinned the signers' keys when it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.hub.accounts import ACCOUNTS, Account, Grant, grants
from edgeagent.hub.keyfiles import MEND
from edgeagent.hub.roles import ROLES, Role
from edgeagent.trust import jwt
from edgeagent.trust.nkeys import is_public

__all__ = ["PublicKeys", "Signed", "decode", "encode"]

VERSION = 1


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """``token`` lets ``importer`` import ``subject`` of ``exporter``; see :class:`edgeagent.hub.accounts.Grant`."""

    exporter: str
    importer: str
    kind: str
    subject: str
    token: str


class PublicKeys(msgspec.Struct, frozen=True, kw_only=True):
    """hub: its name when its keys were made. operator: the operator's JWT. accounts, roles: their public keys.

    activations: the exporters' tokens for everything that crosses between accounts.
    exchanged: how often a role has got a new key; an owner's file with a smaller number is older than the hub.
    """

    hub: str
    operator: str
    accounts: dict[str, str]
    roles: dict[str, str]
    activations: list[Signed]
    exchanged: int = 0
    v: int = VERSION

    def account(self, name: Account) -> str:
        return _known(self.accounts, name, "account")

    def role(self, name: Role) -> str:
        return _known(self.roles, name, "role")

    def tokens(self, wanted: Iterable[Grant]) -> dict[Grant, str]:
        """The activation of each of ``wanted``. Raises Refused for one that the owner has not signed."""
        stored = {(found.exporter, found.importer, found.kind, found.subject): found.token for found in self.activations}
        missing = [grant.subject for grant in wanted if grant not in stored]
        if missing:
            raise _too_old(f"what crosses between accounts ({missing[0]})")
        return {grant: stored[grant] for grant in wanted}

    def check_complete(self) -> None:
        """Raise Refused when this software wants an account, a role or an activation that was not known when the keys were made."""
        for account in ACCOUNTS:
            self.account(account)
        for role in ROLES:
            self.role(role)
        self.tokens(grants(micro=True))

    @property
    def operator_key(self) -> str:
        """The public key of the operator itself. Raises EdgeError for a damaged JWT, or one that another key signed."""
        claims = jwt.decode(self.operator)
        if claims.get("iss") != claims.get("sub"):
            raise Refused("trust the operator's JWT", "another key signed it")
        return str(claims["sub"])

    @property
    def issuers(self) -> frozenset[str]:
        """Who may have signed an account of this hub: the operator and its signing keys. Raises as :attr:`operator_key`."""
        return frozenset([self.operator_key, *jwt.claims(self.operator)["nats"].get("signing_keys", [])])

    def problem(self) -> str:
        """What is not in order in itself, empty if nothing: a key that is none, a token that its exporter did not sign."""
        for name, public in [*self.accounts.items(), *self.roles.items()]:
            if not is_public(public, "account"):
                return f"the key of {name} is damaged"
        try:
            system = jwt.decode(self.operator)["nats"].get("system_account")
            for signed in self.activations:
                claims = jwt.decode(signed.token, issuers=[self.accounts.get(signed.exporter, "")])
                said = claims["sub"], claims["nats"].get("kind"), claims["nats"].get("subject")
                if said != (self.accounts.get(signed.importer), signed.kind, signed.subject):
                    return (
                        f"{signed.subject} from {signed.exporter} to {signed.importer} was signed for another account or subject"
                    )
        except EdgeError as error:
            return error.why
        return "" if system == self.accounts.get("SYS") else "the operator's JWT names another system account"


def _known(keys: dict[str, str], name: str, kind: str) -> str:
    if name not in keys:
        raise _too_old(f"the {kind} {name}")
    return keys[name]


def _too_old(missing: str) -> Refused:
    return Refused(
        "use the hub's keys",
        f"they are older than this software and lack {missing}",
        "the hub's owner adds it: `edgeagent hub keys update`",
    )


def encode(public: PublicKeys) -> str:
    """The text of public.json."""
    return msgspec.json.format(msgspec.json.encode(public), indent=1).decode()


def decode(data: bytes, path: Path) -> PublicKeys:
    """Raises Failed when it is damaged."""
    try:
        return msgspec.json.decode(data, type=PublicKeys)
    except msgspec.DecodeError as error:
        raise Failed(f"read the keys {path}", f"it is damaged: {error}", MEND) from None
