"""The certificate authorities that the hub hands to people and devices, so that they can tell it from another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from edgeagent import files
from edgeagent.hub.address import local_host
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.tls import covers
from edgeagent.hub.tlsfolder import TlsFolder
from edgeagent.trust import certificates

__all__ = ["Trust", "current", "current_file", "local", "split"]

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


class Trust(NamedTuple):
    """What :func:`edgeagent.link.connect` needs to know. file: None for the system's. server_name: empty for the address's own."""

    file: Path | None = None
    server_name: str = ""


def current(place: HubFolder) -> str:
    """PEM text of all of them; empty when the hub has none of its own, so that the system's count, or no TLS.

    Raises EdgeError when they are there and can't be read.
    """
    file = current_file(place)
    return files.read_text(file) if file else ""


def current_file(place: HubFolder) -> Path | None:
    """The file with that text, None when there is none. It is replaced when the authorities change. Raises EdgeError."""
    options = place.options()
    if options.tls == "files" and options.authorities_file:
        return place.named(options.authorities_file)
    return TlsFolder(place).authorities if options.tls == "self" else None


def split(text: str) -> list[str]:
    """The certificates of a PEM text, one by one, without what stands between them."""
    return [found.rstrip("\n") + "\n" for found in _CERTIFICATE.findall(text)]


def local(place: HubFolder, options: HubOptions) -> Trust:
    """How a program on the hub's own machine knows that it reached this hub.

    A certificate that somebody else signed names the hub as others reach it, not the address that such a program uses.
    Raises EdgeError when the hub's certificate can't be read.
    """
    if not options.tls:
        return Trust()
    if options.tls == "self":
        return Trust(current_file(place))
    try:
        found = certificates.read(files.read_bytes(place.named(options.certificate_file))).names
    except ValueError:
        found = ()
    name = "" if covers(found, local_host(options)) or not found else found[0].replace("*", "hub", 1)
    return Trust(current_file(place), name)
