"""nats-py's client, made as strict about TLS as the caller is, and what goes wrong with TLS in our own words.

nats-py (2.16) by itself speaks TLS only when the server's first words ask for it, whatever the url says, and anybody on the way can
change those words. So the login is held back here until the connection is encrypted.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from edgeagent import files
from edgeagent.errors import EdgeError, Failed, Unreachable, UsageProblem
from edgeagent.trust import websockets

__all__ = ["TlsClient", "check_usable", "context", "explain", "inner"]

# nats-py does not tell its streams that they are encrypted, and asyncio warns of that at the end of every connection.
logging.getLogger("asyncio").addFilter(lambda record: "eof_received() has no effect when using ssl" not in str(record.msg))

_NO_TLS = "it offers no TLS, so nothing was said to it"


class TlsClient(Client):
    """authorities: PEM file with the authorities that may have signed the server's certificate; None: the system's.

    secure: sign and send nothing without TLS.
    """

    def __init__(self, authorities: Path | None, *, secure: bool) -> None:
        super().__init__()
        self._authorities, self._secure = authorities, secure
        self._context: ssl.SSLContext | None = None

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """Made for every dial: authorities are exchanged while long-lived programs run."""
        try:
            self._context = context(self._authorities)
        except EdgeError:
            if self._context is None:
                raise
        return self._context

    async def _connect_to_server(self, s: Any) -> None:
        if self._transport is None and s.uri.scheme in ("nats", "tls"):
            self._transport = _Transport()  # type: ignore[no-untyped-call]  # nats-py has no types there
        await super()._connect_to_server(s)

    async def abandon(self) -> None:
        """Close what a first dial that failed left open; nats-py forgets the session of a websocket."""
        session = getattr(self._transport, "_client", None)
        if session is not None:
            await session.close()

    def _connect_command(self) -> bytes:
        writer = getattr(self._transport, "_io_writer", None)
        encrypted = writer.get_extra_info("ssl_object") if writer else getattr(self._transport, "_using_tls", False)
        if self._secure and not encrypted:
            raise nats.errors.Error(_NO_TLS)
        return super()._connect_command()


class _Transport(TcpTransport):
    """nats-py's, which can be closed after a handshake that failed: its own waits for ever then for a connection that has gone."""

    async def connect_tls(self, *args: Any, **more: Any) -> None:
        try:
            await super().connect_tls(*args, **more)
        except BaseException:
            if self._io_writer is not None:
                self._io_writer.transport.abort()
            self._bare_io_reader = self._io_reader = None
            self._bare_io_writer = self._io_writer = None
            raise

    def writelines(self, payload: Any) -> None:
        if self._io_writer is not None:
            super().writelines(payload)  # type: ignore[no-untyped-call]  # as above

    async def drain(self) -> None:
        if self._io_writer is not None:
            await super().drain()  # type: ignore[no-untyped-call]  # as above

    async def wait_closed(self) -> None:
        # Both ends may close at once, and nats-py then waits in two tasks for one future: the one that is cancelled must not end the other.
        await asyncio.shield(super().wait_closed())  # type: ignore[no-untyped-call]  # as above

    def __bool__(self) -> bool:
        return True  # else nats-py replaces it


def context(authorities: Path | None) -> ssl.SSLContext:
    """For a client that trusts the authorities in that PEM file; None: the system's. Raises EdgeError."""
    if authorities is None:
        return ssl.create_default_context()
    what = f"use the certificate authorities in {authorities}"
    text = files.read_text(authorities)
    try:
        return ssl.create_default_context(cadata=text or "none")  # an empty text would stand for the system's authorities
    except (ssl.SSLError, ValueError):
        raise Failed(what, "it holds no certificates in PEM form", "get the file again from whoever runs the hub") from None


def check_usable(scheme: str, what: str) -> None:
    """Raise UsageProblem when a url of this scheme can't be used here. what: as for EdgeError."""
    if scheme in ("ws", "wss") and not websockets.load():
        raise UsageProblem(what, f"{scheme}:// needs aiohttp, which is not installed", "`pip install 'edgeagent[operator]'`")


_NAMES = "use an address that it names: on the hub, `edgeagent hub tls show` lists them"
#: X509_V_ERR_* of OpenSSL (x509_vfy.h) -> (why, remedy).
_DISTRUST = {
    9: ("its certificate is not valid yet", "is this machine's clock right?"),
    10: ("its certificate has expired", "whoever runs the hub renews it; is this machine's clock right?"),
    62: ("its certificate is for another name", _NAMES),
    64: ("its certificate is for another address", _NAMES),
}
_STRANGER = (
    "its certificate is not signed by an authority that is trusted here",
    "take the hub's authorities from whoever runs it; if you have them, somebody may be in between",
)


def inner(error: BaseException) -> BaseException:
    """The error in an error of aiohttp's, which has the words of ssl and of the system but not their numbers."""
    for name in ("certificate_error", "os_error"):
        found = getattr(error, name, None)
        if isinstance(found, BaseException):
            return found
    return error


def _distrust(cause: Any, url: str, what: str) -> EdgeError:
    """cause: an error of ssl's."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        why, remedy = _DISTRUST.get(cause.verify_code, _STRANGER)
        return Unreachable(what, f"{url}: {why} ({cause.verify_message})", remedy)
    return Unreachable(what, f"{url} does not speak TLS as it should ({cause.reason or cause})", "check address and port")


def explain(error: BaseException, url: str, what: str) -> EdgeError | None:
    """What ``error`` of a connection to ``url`` means, None when it has nothing to do with TLS. what: as for EdgeError."""
    cause = inner(error)
    if type(cause).__module__ == "ssl":  # an agent that lost its leaf alone does not load it (edgeagent.assembly.lean)
        return _distrust(cause, url, what)
    if url.startswith("ws://") and getattr(error, "status", None) == 400:  # what nats-server answers at a port with TLS
        return Unreachable(what, f"{url} does not understand us", "if the hub has TLS, begin the address with wss://")
    if str(error).endswith(_NO_TLS):
        return Unreachable(what, f"{url}: {_NO_TLS}", "check the address; if the hub has TLS, somebody may be in between")
    return None
