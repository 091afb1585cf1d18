"""The entries of ``hub.urls``: hubs, in order of preference; each may be several servers of one hub, with commas between them. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from edgeagent.servers import split

__all__ = ["ENTRY", "FORM", "MAX_ENTRIES", "check_document", "is_encrypted", "is_open", "mixes", "refusal"]

_ADDRESS = r"(nats-leaf|nats|tls|ws|wss)://[^/\s,]+"
ENTRY = rf"^{_ADDRESS}(,{_ADDRESS})*\Z"
FORM = "an address such as tls://hub.example:7422"
#: A device looks at one after the other, and nobody runs more hubs, or more servers of one.
MAX_ENTRIES, MAX_SERVERS = 8, 16
_WEB, _ENCRYPTED = ("ws", "wss"), ("tls", "wss")
_KINDS = {"nats": "nats-leaf"}


def _schemes(entries: Iterable[str]) -> set[str]:
    found = {url.partition("://")[0] for entry in entries for url in split(entry)}
    return {_KINDS.get(scheme, scheme) for scheme in found}


def mixes(entries: Iterable[str]) -> bool:
    """Whether some of the addresses are websockets and some are not: a proxy on the way lets only these pass."""
    return len({scheme in _WEB for scheme in _schemes(entries)}) > 1


def is_open(entry: str) -> bool:
    """Whether what is said there can be read, or changed, on the way: no TLS, and not on this machine."""
    return any(url.partition("://")[0] not in _ENCRYPTED and not _is_loopback(url) for url in split(entry))


def is_encrypted(entry: str) -> bool:
    return bool(_schemes([entry]) & set(_ENCRYPTED))


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_document(entries: Sequence[str]) -> None:
    """Raise ValueError for what a document must not say; the form of each entry was looked at before."""
    if not entries:
        raise ValueError("it must have an entry: a device without one could never be told anything again")
    if len(set(entries)) < len(entries):
        raise ValueError("an entry is there twice")
    if mixes(entries):
        raise ValueError("it mixes ws:// or wss:// with other addresses; use one kind")
    for entry in entries:
        _check_entry(entry)


def _check_entry(entry: str) -> None:
    if len(split(entry)) > MAX_SERVERS:
        raise ValueError(f"an entry may have {MAX_SERVERS} servers")
    if len(_schemes([entry])) > 1:
        raise ValueError("the servers of one entry are of one hub, so they begin with the same scheme")
    for url in split(entry):
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError(f"{url} is no address") from None
        if not host or port == 0:
            raise ValueError(f"{url} is no address")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError(f"{url} may name a host and a port, and nothing else: everybody in the fleet reads it")


def refusal(entries: Iterable[str], own: Sequence[str], *, encrypted: bool, proxy: bool) -> str:
    """Why a device does not go where a document sends it, as half a sentence; empty when it does.

    Who has an operator's key must not be able to take a fleet's links out of TLS, by which alone devices know their hub; nor must
    somebody who mistypes.

    own: what the device itself was given, in agent.toml or at its enrolment: there it goes as it stands. encrypted: it has reached its
    hub by TLS before, or was given certificate authorities for that. proxy: it goes by one.
    """
    secured = encrypted or bool(_schemes(own) & set(_ENCRYPTED))
    for entry in entries:
        if entry in own:
            continue
        if secured and is_open(entry):
            return f"{entry} is without TLS, and this device reaches its hub by TLS"
        if proxy and not _schemes([entry]) <= set(_WEB):
            return f"only ws:// and wss:// pass this device's proxy, not {entry}"
    return ""
