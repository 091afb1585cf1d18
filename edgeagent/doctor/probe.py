"""One try to reach a hub's address as the leaf does: its name, a TCP connection, TLS. Nothing is sent but that. It blocks, for some seconds
at most.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import ssl
from base64 import b64encode
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from edgeagent.assembly.reach import endpoint
from edgeagent.doctor.aside import bounded
from edgeagent.errors import EdgeError
from edgeagent.trust import tls

__all__ = ["STEP_SECONDS", "Reached", "probe"]

#: For each step, in seconds; a mobile network takes two or three.
STEP_SECONDS = 5.0
#: The longest first line that a hub may say, in bytes; nats-server's are below 1 KiB.
LINE_BYTES = 16 << 10


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How far it came with ``url``. host, port: of the connection, which is the proxy's where there is one.

    unknown: the names that can't be looked up, and why. silence: why there is no connection, empty when there is one; None: it was not
    tried. encrypted: it is or would be. distrust: OpenSSL's number for why the certificate is not accepted (X509_V_ERR_*, 0: it has
    nothing to do with the certificate), and its words; None: it is, or TLS was not tried. ends: when the certificate does, Unix seconds.
    unreadable: why the authorities can't be.
    """

    url: str
    host: str
    port: int
    proxied: bool = False
    unknown: dict[str, str] = field(default_factory=dict)
    silence: str | None = None
    encrypted: bool = False
    distrust: tuple[int, str] | None = None
    ends: float | None = None
    unreadable: EdgeError | None = None


def probe(url: str, proxy: str, authorities: Path | None, seconds: float = STEP_SECONDS) -> Reached:
    """proxy: an HTTP proxy on the way, empty for none. authorities: PEM file; None: the system's. seconds: for each step, and twice that
    for all: whoever says a byte now and then holds nobody up."""
    host, port = endpoint(url, proxy)
    found = Reached(url=url, host=host, port=port, proxied=bool(proxy))
    try:
        return bounded(lambda: _probed(found, proxy, authorities, seconds), 2 * seconds)
    except TimeoutError:
        return replace(found, silence=f"no hub answered within {2 * seconds:g} s")


def _probed(found: Reached, proxy: str, authorities: Path | None, seconds: float) -> Reached:
    url, host, port = found.url, found.host, found.port
    # The leaf looks the hub's name up itself, also where it then asks a proxy for it.
    names = dict.fromkeys((urlsplit(url).hostname or "", host))
    unknown = {name: why for name in names if (why := _unknown(name, seconds))}
    if unknown:
        return replace(found, unknown=unknown)
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            if proxy:
                _through(connection, url, proxy)
            return _spoken(replace(found, silence=""), connection, authorities)
    except OSError as error:
        return replace(found, silence=_meaning(error, seconds))


def _unknown(name: str, seconds: float) -> str:
    """Why nobody knows the name, empty when somebody does."""
    try:
        # It can't be stopped, and a resolver that is away takes half a minute.
        bounded(lambda: socket.getaddrinfo(name, None, type=socket.SOCK_STREAM), seconds)
    except TimeoutError:
        return f"the DNS did not answer within {seconds:g} s"
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)
        return "the DNS does not know it" if number in (socket.EAI_NONAME, socket.EAI_NODATA) else "the DNS can't be asked"
    return ""


def _through(connection: socket.socket, url: str, proxy: str) -> None:
    """Have an HTTP proxy connect us (RFC 9110, section 9.3.6). Raises OSError when it will not."""
    parts, way = urlsplit(url), urlsplit(proxy)
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    login = ""
    if way.username is not None:
        pair = f"{unquote(way.username)}:{unquote(way.password or '')}"
        login = f"Proxy-Authorization: Basic {b64encode(pair.encode()).decode()}\r\n"
    target = f"{parts.hostname}:{port}"
    connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n".encode())
    status = _line(connection)
    while _line(connection).strip():
        pass
    if status.split(b" ")[1:2] != [b"200"]:
        raise ConnectionError(f"the proxy does not lead there: it answered {status[:60].decode('latin-1').strip()!r}")


def _line(connection: socket.socket) -> bytes:
    """One line, read byte by byte: what comes after it is for TLS."""
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte or len(line) > LINE_BYTES:
            raise ConnectionError("it closed the connection, or is no hub")
        line += byte
    return line


def _spoken(found: Reached, connection: socket.socket, authorities: Path | None) -> Reached:
    scheme = urlsplit(found.url).scheme
    if scheme == "ws":
        return found
    # The leaf speaks TLS first at a tls:// or wss:// address; at another it hears of it in the hub's first words.
    if scheme not in ("tls", "wss") and not _wants_tls(connection):
        return found
    return _secured(replace(found, encrypted=True), connection, authorities)


def _wants_tls(connection: socket.socket) -> bool:
    verb, _, body = _line(connection).partition(b" ")
    info: Any = None
    with contextlib.suppress(ValueError):
        info = json.loads(body)
    if verb != b"INFO" or not isinstance(info, dict):
        raise ConnectionError("it is no hub's port for leafs")
    return bool(info.get("tls_required"))


def _secured(found: Reached, connection: socket.socket, authorities: Path | None) -> Reached:
    try:
        context = tls.context(authorities)
    except EdgeError as error:
        return replace(found, unreadable=error)
    try:
        with context.wrap_socket(connection, server_hostname=urlsplit(found.url).hostname) as secured:
            certificate: Any = secured.getpeercert() or {}
            return replace(found, ends=float(ssl.cert_time_to_seconds(certificate["notAfter"])))
    except ssl.SSLCertVerificationError as error:
        return replace(found, distrust=(error.verify_code, error.verify_message))
    except (OSError, KeyError, ValueError) as error:
        return replace(found, distrust=(0, getattr(error, "reason", "") or str(error) or type(error).__name__))


def _meaning(error: OSError, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    if error.errno == errno.ECONNREFUSED:
        return "nothing listens there"
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return "there is no way to that network"
    return error.strerror or str(error)
