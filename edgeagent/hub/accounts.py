"""The five accounts, and everything that crosses between them. Pure: public keys in, claims out.

HUB has JetStream and every stream; OPS has the people; FLEET the devices; PROVISION the claims; SYS the servers. Three accounts and
not one, because nats-server sends answers of Direct Gets and publish acknowledgements to whatever reply subject the asker names,
and streams store them: in one account a device can forge another's report, a command or a config document. Across accounts a
response never re-enters an import. nats-server does not promise that; tests/live/test_attacks.py tries it.

Reads and writes cross as services, doorbells and live views as streams. Every export is private: an account can import it only with
an activation token that HUB or OPS signed for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from edgeagent import subjects
from edgeagent.hub import roles
from edgeagent.hub.streams import CONFIG_BUCKET, UPWARD
from edgeagent.subjects import API_PREFIX
from edgeagent.trust import jwt

__all__ = ["ACCOUNTS", "ROLE_ACCOUNT", "Account", "Grant", "claims", "grants"]

Account = Literal["SYS", "HUB", "OPS", "FLEET", "PROVISION"]
ACCOUNTS: tuple[Account, ...] = get_args(Account)

#: Whose scoped signing key each role has.
ROLE_ACCOUNT: dict[roles.Role, Account] = {
    "device": "FLEET",
    "viewer": "OPS",
    "operator": "OPS",
    "admin": "OPS",
    "group-viewer": "OPS",
    "group-operator": "OPS",
    "provision": "PROVISION",
    "renewal": "PROVISION",
}

#: Claims and renewals come as leafs and stay for a moment; devices that find no place try again. The hub's services are the clients.
_LIMITS: dict[Account, dict[str, int]] = {"PROVISION": {"conn": 600, "leaf": 500}}


class Grant(NamedTuple):
    """``importer`` may import ``subject`` of ``exporter``; ``kind`` is ``service`` or ``stream``."""

    exporter: Account
    importer: Account
    kind: str
    subject: str


class _Export(NamedTuple):
    kind: str
    subject: str
    # Singleton forgets a request with its one answer. Stream answers many times, but costs the hub 0.9 KB a request for as long as
    # the asker's inbox is subscribed: only for batches, which are asked with an inbox of their own.
    response: str = ""
    # How long the hub remembers a request that nobody has answered, in seconds; nats-server's own choice would be two minutes, and each
    # costs it half a kilobyte: a device can ask 40,000 times a second.
    answer_seconds: float = 10.0


class _Import(NamedTuple):
    exporter: Account
    export: _Export
    subject: str = ""  # a part of the export; empty for all of it
    local: str = ""  # the name in the importing account; empty for the same


_GET = _Export("service", "$JS.API.DIRECT.GET.*.>", "Singleton")
_BATCH = _Export("service", "$JS.API.DIRECT.GET.*", "Stream")
_INFO = _Export("service", "$JS.API.STREAM.INFO.*", "Singleton")
_FROM_DEVICES = _Export("service", "edge.from.>", "Singleton")
_COMMANDS = _Export("service", "edge.to.*.*.cmd.*", "Singleton")
_FILES = _Export("service", subjects.file_piece("*", "*"), "Singleton")
_CONFIG = _Export("service", f"$KV.{CONFIG_BUCKET}.*.*", "Singleton")
_TO_DEVICES = _Export("stream", "edge.to.>")
# A wildcard, though one subject is all that people may write: the answers that are sent to a *literal* import's subject as their reply
# do enter it (nats-server 2.15.1), and any viewer could write there. The role says who may.
_TRUST = _Export("service", f"$KV.{subjects.TRUST_BUCKET}.*", "Singleton")
_ADMIN = _Export("service", "edge.admin.*.*", "Singleton", 180.0)  # an order about thousands of devices takes a while
_LIVE = _Export("stream", "edge.live.>")
_QUERIES = _Export("stream", "edge.to.*.*.query")
_REPLIES = _Export("service", "edge.from.*.reply.*.*", "Singleton", 0.1)  # an answer to a query is not answered
_MICRO_QUESTIONS = _Export("stream", "$SRV.>")
_MICRO_ANSWERS = _Export("service", "_INBOX.srv.>", "Singleton", 0.1)

_READ = _Import("HUB", _GET, local=f"{API_PREFIX}.DIRECT.GET.*.>")
_OPS_IMPORTS = (
    _READ,
    _Import("HUB", _BATCH, local=f"{API_PREFIX}.DIRECT.GET.*"),
    _Import("HUB", _INFO, local=f"{API_PREFIX}.STREAM.INFO.*"),
    _Import("HUB", _COMMANDS),
    _Import("HUB", _FILES),
    _Import("HUB", _CONFIG),
    _Import("HUB", _TRUST),
    _Import("HUB", _ADMIN),
    _Import("HUB", _LIVE),
)
_FLEET_IMPORTS = (
    _READ,
    *[_Import("HUB", _FROM_DEVICES, subject=f"edge.from.*.{what}") for what in (*UPWARD, "request.*")],
    _Import("HUB", _TO_DEVICES, subject="edge.to.*.*.config"),
    _Import("HUB", _TO_DEVICES, subject="edge.to.*.*.command"),
    _Import("HUB", _TO_DEVICES, subject="edge.to.*.*.record"),
    _Import("OPS", _REPLIES),
    _Import("OPS", _QUERIES),
)
_MICRO_IMPORTS = (_Import("OPS", _MICRO_QUESTIONS), _Import("OPS", _MICRO_ANSWERS))


def claims(
    account: Account,
    *,
    publics: Mapping[Account, str],
    role_keys: Mapping[roles.Role, str],
    tokens: Mapping[Grant, str],
    micro: bool,
) -> dict[str, Any]:
    """What :func:`edgeagent.trust.jwt.account` needs to know about ``account``.

    publics: each account's public key. role_keys: each role's public signing key.
    tokens: an activation for each of :func:`grants`. micro: the fleet answers NATS's micro protocol.
    """
    signing_keys = [
        jwt.scope(role_keys[role], role=role, template=roles.template(role, micro=micro))
        for role, owner in ROLE_ACCOUNT.items()
        if owner == account
    ]
    return {
        "jetstream": account == "HUB",
        "limits": _LIMITS.get(account, {}),
        "signing_keys": signing_keys,
        "exports": [_export_claim(export) for export in _exports(account, micro)],
        "imports": [
            _import_claim(imported, publics[imported.exporter], tokens[_grant(account, imported)])
            for imported in _imports(account, micro)
        ],
    }


def grants(*, micro: bool) -> list[Grant]:
    """Every activation that must be signed by its exporter, once each."""
    return list(dict.fromkeys(_grant(account, imported) for account in ACCOUNTS for imported in _imports(account, micro)))


def _imports(account: Account, micro: bool) -> tuple[_Import, ...]:
    if account == "OPS":
        return _OPS_IMPORTS
    if account == "FLEET":
        return (*_FLEET_IMPORTS, *(_MICRO_IMPORTS if micro else ()))
    return ()


def _exports(account: Account, micro: bool) -> list[_Export]:
    """What others import of ``account``; nothing is exported that nobody takes."""
    taken = (imported for other in ACCOUNTS for imported in _imports(other, micro) if imported.exporter == account)
    return list(dict.fromkeys(imported.export for imported in taken))


def _grant(importer: Account, imported: _Import) -> Grant:
    return Grant(imported.exporter, importer, imported.export.kind, imported.export.subject)


def _export_claim(export: _Export) -> dict[str, Any]:
    claim = {"name": export.subject, "subject": export.subject, "type": export.kind, "token_req": True}
    if not export.response:
        return claim
    return {**claim, "response_type": export.response, "response_threshold": int(export.answer_seconds * 1e9)}


def _import_claim(imported: _Import, account: str, token: str) -> dict[str, Any]:
    subject = imported.subject or imported.export.subject
    claim = {"name": subject, "subject": subject, "type": imported.export.kind, "account": account, "token": token}
    return {**claim, "local_subject": imported.local} if imported.local else claim
