"""What the owner of a hub signs once, with keys that the hub itself never has. Pure.

The operator's JWT, the tokens for everything that crosses between accounts, the logins of the hub's own services. All of it is
signed as of 2020, so that it is the same text whenever it is made again of the same keys.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeagent.hub import accounts, interest, roles
from edgeagent.hub.keyring import PRELOAD_ISSUED_AT, SERVICES, SIGNING_KEY, Service, role_key
from edgeagent.hub.publickeys import PublicKeys, Signed
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair, Kind

__all__ = ["KEYS", "OPERATOR_KEY", "account_key", "public", "services", "user_key"]

OPERATOR_KEY = "operator"
_OPERATOR_NAME = "edgeagent"


def account_key(account: str) -> str:
    """The name of an account's key in files."""
    return f"account-{account}"


def user_key(service: str) -> str:
    """The name of the key of one of the hub's own logins."""
    return f"user-{service}"


#: Every key of a hub.
KEYS: dict[str, Kind] = {
    OPERATOR_KEY: "operator",
    SIGNING_KEY: "operator",
    **{account_key(name): "account" for name in accounts.ACCOUNTS},
    **{role_key(role): "account" for role in roles.ROLES},
    **{user_key(service): "user" for service in SERVICES},
}


def public(hub: str, seeds: Mapping[str, KeyPair]) -> PublicKeys:
    """What follows from the keys that are there; newer software may want more than an older file has."""
    known = [name for name in accounts.ACCOUNTS if account_key(name) in seeds]
    grants = [grant for grant in accounts.grants(micro=True) if {grant.exporter, grant.importer} <= set(known)]
    operator = jwt.operator(
        seeds[OPERATOR_KEY],
        name=_OPERATOR_NAME,
        system_account=seeds[account_key("SYS")].public,
        issued_at=PRELOAD_ISSUED_AT,
        signing_keys=[seeds[SIGNING_KEY].public],
    )
    return PublicKeys(
        hub=hub,
        operator=operator,
        accounts={name: seeds[account_key(name)].public for name in known},
        roles={role: seeds[role_key(role)].public for role in roles.ROLES if role_key(role) in seeds},
        activations=[_activation(grant, seeds) for grant in grants],
    )


def _activation(grant: accounts.Grant, seeds: Mapping[str, KeyPair]) -> Signed:
    token = jwt.activation(
        seeds[account_key(grant.exporter)],
        importer=seeds[account_key(grant.importer)].public,
        subject=grant.subject,
        kind=grant.kind,
        issued_at=PRELOAD_ISSUED_AT,
    )
    return Signed(exporter=grant.exporter, importer=grant.importer, kind=grant.kind, subject=grant.subject, token=token)


def services(seeds: Mapping[str, KeyPair]) -> dict[Service, Credentials]:
    return {
        service: _service(service, seeds[account_key(account)], seeds[user_key(service)])
        for service, account in SERVICES.items()
        if account_key(account) in seeds and user_key(service) in seeds
    }


def _service(service: Service, account: KeyPair, key: KeyPair) -> Credentials:
    token = jwt.user(
        account,
        subject=key.public,
        name=service,
        account=account.public,
        issued_at=PRELOAD_ISSUED_AT,
        rights=interest.RIGHTS if service == "fleet" else None,
        connection_types=("STANDARD", "WEBSOCKET"),
    )
    return Credentials(token, key.seed)
