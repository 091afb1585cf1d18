"""What is said between a new device and the hub: the claim token, the claim, the admission, the renewal. Shapes only."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

import msgspec

from edgeagent.errors import UsageProblem
from edgeagent.wire import VERSION

__all__ = ["NO_ID", "Admission", "Authorities", "Claim", "ClaimToken", "Renewal", "Renewed", "claim_proof"]

#: How the reason begins for which the hub refuses a claim without an id: the device may then name its own. Part of the protocol.
NO_ID = "the token says no id"


class _About(msgspec.Struct, omit_defaults=True):
    hub: str
    tls: bool = True
    authorities: list[str] = []
    v: int = VERSION


class ClaimToken(NamedTuple):
    """What `edgeagent token create` prints. Whoever has it can become a device, as often as it may be used.

    jwt: a bearer user of the account PROVISION; its name is the token's id. hub: the hub's name.
    tls: the hub's ports are TLS, so nothing else may be tried. authorities: the certificate authorities of its own, PEM; none when its
    certificate is one that everybody's system trusts.
    """

    jwt: str
    hub: str
    tls: bool
    authorities: tuple[str, ...] = ()

    def format(self) -> str:
        """One line without blanks: the JWT, ``~``, and the rest as base64url of JSON."""
        about = msgspec.json.encode(_About(hub=self.hub, tls=self.tls, authorities=list(self.authorities)))
        return f"{self.jwt}~{base64.urlsafe_b64encode(about).rstrip(b'=').decode()}"

    @classmethod
    def parse(cls, text: str) -> ClaimToken:
        """Raises UsageProblem when it is none, or was not copied whole."""
        jwt, mark, rest = text.strip().partition("~")
        try:
            about = msgspec.json.decode(base64.urlsafe_b64decode(rest + "=" * (-len(rest) % 4)), type=_About)
        except (binascii.Error, ValueError, msgspec.DecodeError):
            mark = ""
        if not mark or jwt.count(".") != 2:
            raise UsageProblem(
                "use this token", "it is no claim token, or was not copied whole", "`edgeagent token create` prints one"
            )
        return cls(jwt, about.hub, about.tls, tuple(about.authorities))


class Claim(msgspec.Struct, omit_defaults=True):
    """Let this key be a device (request on ``provision.claim.<token id>``; the answer is an :class:`Admission`).

    key: the public user nkey that was made on the device. proof: base64url of the key's signature over :func:`claim_proof`.
    device: the id that it would like; empty leaves it to the token. serial, macs: of the board, for tokens that list boards.
    """

    key: str
    proof: str
    device: str = ""
    serial: str = ""
    macs: list[str] = []
    v: int = VERSION


def claim_proof(token_id: str, claim: Claim) -> bytes:
    """What the device signs to show that it has the seed of ``claim.key``. Bound to the token, so that it proves nothing elsewhere."""
    return "\n".join(("edgeagent claim 1", token_id, claim.key, claim.device, claim.serial, *sorted(claim.macs))).encode()


class Admission(msgspec.Struct, omit_defaults=True):
    """The device is one of the hub's now.

    jwt: its user in the account FLEET. renewal: its user in the account PROVISION, for the same key, which never expires and can only
    ask for another jwt. hub: the hub's name. signers: public role key -> role, of those whose signatures the device shall follow.
    authorities: as in :class:`ClaimToken`. servers, websockets: where a hub of several servers takes devices, ``host:port`` each; none:
    where this one did.
    """

    id: str
    jwt: str
    renewal: str
    hub: str
    signers: dict[str, str] = {}
    authorities: list[str] = []
    groups: list[str] = []
    labels: dict[str, str] = {}
    servers: list[str] = []
    websockets: list[str] = []
    v: int = VERSION


class Renewal(msgspec.Struct, omit_defaults=True):
    """Give me a new JWT (request on ``edge.from.<id>.request.renew`` or ``provision.renew.<id>``; answered by :class:`Renewed`).

    key: the public user nkey that it has; refused when the hub knows another device by this id.
    """

    key: str
    v: int = VERSION


class Renewed(msgspec.Struct, omit_defaults=True):
    """jwt, renewal: as in :class:`Admission`."""

    jwt: str
    renewal: str = ""
    v: int = VERSION


class Authorities(msgspec.Struct, omit_defaults=True):
    """The document ``trust.authorities``, which only the hub can write: the certificate authorities of its TLS, PEM, each one an item.

    None: those that everybody's system trusts.
    """

    authorities: list[str] = []
    v: int = VERSION
