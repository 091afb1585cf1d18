"""A certificate of somebody else's for the hub: whether it can be used, and whether it changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from edgeagent import files
from edgeagent.errors import Failed
from edgeagent.hub.address import is_loopback, is_wildcard
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.tls import covers
from edgeagent.trust import certificates

__all__ = ["check", "read", "stamp", "unnamed"]


def check(place: HubFolder, options: HubOptions, now: datetime) -> certificates.Certificate:
    """The certificate, if it can be used with its key now. Raises EdgeError."""
    path, key = place.named(options.certificate_file), place.named(options.key_file)
    what = f"use the certificate {path}"
    found = read(path)[0]
    try:
        fits = certificates.fits(files.read_bytes(path), files.read_bytes(key))
    except ValueError as error:
        raise Failed(
            f"use the key {key}", f"it holds no private key in PEM form ({error})", "check `key_file` in hub.toml"
        ) from None
    if not fits:
        raise Failed(what, f"{key} is not its key", "check `certificate_file` and `key_file` in hub.toml")
    if found.ends <= now:
        raise Failed(what, f"it expired on {found.ends:%Y-%m-%d}", "put a new one in its place")
    if not found.names:
        raise Failed(what, "it names no host (subjectAltName)", "get one that names the hub")
    if options.authorities_file:
        read(place.named(options.authorities_file))
    return found


def read(path: Path) -> list[certificates.Certificate]:
    """Every certificate in the file. Raises EdgeError."""
    try:
        return certificates.read_all(files.read_bytes(path))
    except ValueError:
        raise Failed(f"use the certificate {path}", "it holds none in PEM form", "check the file that hub.toml names") from None


def unnamed(options: HubOptions, found: certificates.Certificate) -> list[str]:
    """The hosts of ``hub.toml`` that the certificate does not name: whoever goes there will not trust it."""
    return [host for host in _hosts(options) if not covers(found.names, host)]


def _hosts(options: HubOptions) -> Iterator[str]:
    host = options.advertise or options.listen
    if not is_wildcard(host) and not is_loopback(host):
        yield host


def stamp(paths: Iterable[Path]) -> tuple[tuple[int, int, int], ...]:
    """Changes whenever one of the files does. A file that is not there is all zeros."""
    return tuple(_stamp(path) for path in paths)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino
