"""The certificate of the leaf's MQTT listener: one by an authority of the device's own, or files of the owner's.

``<state>/mqtt-tls``: ``authority.pem`` and ``server.pem``, each a certificate with its key in one file (mode 0600), so that a power cut
never leaves halves that do not fit; ``ca.pem``, the authority's certificate alone, is for microcontrollers; ``made.json`` says what was made.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import zlib
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.errors import EdgeError, Failed
from edgeagent.trust.validity import AUTHORITY_LIFE, SERVER_LIFE, START

__all__ = ["FOLDER", "Issued", "OwnTls", "check_files", "due", "names", "stamp"]

FOLDER = "mqtt-tls"
#: A new certificate is made when the old one has less than this left.
RENEW_BEFORE = timedelta(days=30)
#: A machine with many virtual networks has as many addresses.
MAX_NAMES = 64
_LOCAL = ("localhost", "127.0.0.1", "::1")


class Issued(msgspec.Struct, frozen=True):
    """The server's certificate: for which names, and until when."""

    names: list[str]
    ends: datetime


def names(more: Iterable[str]) -> list[str]:
    """By what this machine is reached: its host name, that with ``.local``, its addresses, and ``more``."""
    import psutil

    host = socket.gethostname().lower()
    found = [each.address for addresses in psutil.net_if_addrs().values() for each in addresses]
    addresses = sorted(text for text in map(_plain, found) if text)
    wanted = [*_LOCAL, host, "" if "." in host else f"{host}.local", *(_plain(name) or name.lower() for name in more), *addresses]
    return [name for name in dict.fromkeys(wanted) if name and name.isascii() and len(name) <= 253][:MAX_NAMES]


def _plain(text: str) -> str:
    """An address that others may use, as a certificate has it; empty for anything else."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    return "" if address.is_link_local or address.is_unspecified else str(address)


def due(made: Issued | None, wanted: Iterable[str], now: datetime) -> str:
    """Why a certificate is to be made; empty when none is. One with more names than there are now is as good."""
    if made is None:
        return "there was none"
    if made.ends - now < RENEW_BEFORE:
        return "the old one ends"
    missing = [name for name in wanted if name not in made.names]
    return f"the old one does not name {', '.join(missing)}" if missing else ""


class OwnTls:
    """The device's own authority and certificate, in a folder of the state folder."""

    def __init__(self, state_folder: Path) -> None:
        self.folder = state_folder / FOLDER
        self.authority, self.server = self.folder / "authority.pem", self.folder / "server.pem"
        #: What microcontrollers trust.
        self.ca = self.folder / "ca.pem"
        self._owner: tuple[int, int] | None = None

    def ensure(self, more: Iterable[str], now: datetime | None = None) -> str:
        """Make what is due; why, empty when nothing was. more: names besides the machine's. now: None: the clock's. Raises EdgeError."""
        # A device without a clock boots in the past: what it makes then ends early, and is made anew when it knows the time.
        now = max(now or datetime.now(timezone.utc), START)
        why = due(self._issued(), wanted := names(more), now)
        if why:
            self._owner = _make_folder(self.folder)
            self._issue(self._made_authority(now), wanted, now)
        return why

    def _write(self, path: Path, data: bytes) -> None:
        files.write_atomic(path, data, 0o600, self._owner)

    def _issued(self) -> Issued | None:
        try:
            made = msgspec.json.decode(files.read_if_there(self.folder / "made.json") or b"", type=Issued)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return made if all(path.is_file() for path in (self.authority, self.server, self.ca)) else None

    def _made_authority(self, now: datetime) -> bytes:
        found = files.read_if_there(self.authority)
        if found is None:
            from edgeagent.trust.certificates import make_authority

            pair = make_authority(f"edgeagent {socket.gethostname()[:40]} MQTT CA", now + AUTHORITY_LIFE)
            found = pair.certificate + pair.key
            self._write(self.authority, found)
        return found

    def _issue(self, authority: bytes, wanted: list[str], now: datetime) -> None:
        from edgeagent.trust.certificates import Pair, make_server, read

        certificate, mark, key = authority.partition(b"-----BEGIN PRIVATE KEY-----")
        try:
            ends = min(now + SERVER_LIFE, read(certificate).ends)
            made = make_server(Pair(certificate, mark + key), wanted, ends)
        except ValueError as error:
            remedy = "remove it: another authority is made, which every microcontroller must be given"
            raise Failed(f"read {self.authority}", str(error), remedy) from None
        self._write(self.server, made.certificate + made.key)
        self._write(self.ca, certificate)
        self._write(self.folder / "made.json", msgspec.json.encode(Issued(wanted, ends)))


def _make_folder(folder: Path) -> tuple[int, int] | None:
    """Make it, for whom the state folder belongs to; who that is where we are root, else None. Raises EdgeError."""
    files.make_folder(folder, 0o700)
    owner = files.folders_owner(folder.parent)
    if owner:
        try:
            os.chown(folder, *owner, follow_symlinks=False)
        except OSError as error:
            raise files.failure(f"make the folder {folder}", error) from None
    return owner


def check_files(certificate: Path, key: Path) -> None:
    """See to it that nats-server can start with these: it would not start at all. Raises EdgeError."""
    for path in (certificate, key):
        files.read_bytes(path)
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise _unusable(certificate, key, error) from None


def _unusable(certificate: Path, key: Path, error: Exception) -> EdgeError:
    why = f"{key} is not the key of {certificate}, or one of them is no PEM ({error})"
    return Failed("use the certificate for MQTT", why, "mend `mqtt.certificate_file` and `mqtt.key_file` in agent.toml")


def _no_password() -> str:
    raise ValueError("it is encrypted")


def stamp(*paths: Path) -> str:
    """Another one whenever what is in the files changes. Raises EdgeError."""
    return " ".join(f"{zlib.crc32(files.read_bytes(path)):08x}" for path in paths)  # hashlib would load OpenSSL
