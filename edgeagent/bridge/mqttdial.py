"""A connected socket to a broker, with TLS where that is wanted. Cancellable at any moment, and bounded in time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent import files
from edgeagent.bridge.mqttproblems import not_dialled
from edgeagent.bridge.mqttshapes import MqttOptions
from edgeagent.errors import EdgeError, Failed

if TYPE_CHECKING:
    import ssl
else:
    from edgeagent.bridge.latessl import ssl

__all__ = ["dialled", "password_of"]


def password_of(options: MqttOptions) -> str:
    """As it is now. Raises EdgeError when its file can't be read."""
    if options.password_file is None:
        return options.password
    return files.read_text(options.password_file).rstrip("\r\n")


async def dialled(options: MqttOptions, what: str) -> socket.socket:
    """A socket that does not block. what: as for :class:`EdgeError`. Raises EdgeError."""
    context = _context(options.ca_file, is_pinned=options.is_pinned) if options.tls else None
    dialling = asyncio.ensure_future(_dial(options.host, options.port, context))
    try:
        await asyncio.wait({dialling}, timeout=options.connect_seconds)
    finally:
        if not dialling.done():
            dialling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({dialling})
    if dialling.cancelled():
        raise not_dialled(what, options.host, TimeoutError())
    error = dialling.exception()
    if error is None:
        return dialling.result()
    if isinstance(error, (OSError, ValueError)) and not isinstance(error, EdgeError):
        raise not_dialled(what, options.host, error) from error
    raise error


def _context(authorities: Path | None, *, is_pinned: bool) -> ssl.SSLContext:
    """Made for every dial: authorities are exchanged while the agent runs."""
    if authorities is None:
        return ssl.create_default_context()
    text = files.read_text(authorities)
    try:
        made = ssl.create_default_context(cadata=text or "none")  # an empty text would stand for the system's authorities
        if is_pinned:
            made.check_hostname = False
            made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return made
    except (ssl.SSLError, ValueError):
        raise Failed(
            f"use the certificate authorities in {authorities}",
            "it holds no certificates in PEM form",
            "put the certificate of the authority there that signed the broker's",
        ) from None


async def _dial(host: str, port: int, context: ssl.SSLContext | None) -> socket.socket:
    """One of its addresses after the other. Raises the last one's OSError; what goes wrong with TLS at once."""
    loop = asyncio.get_running_loop()
    last: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            return await _connected(socket.socket(family, kind, protocol), address, context, host)
        except ssl.SSLError:
            raise
        except OSError as error:
            last = error
    raise last


async def _connected(plain: socket.socket, address: Any, context: ssl.SSLContext | None, host: str) -> socket.socket:
    made = plain
    try:
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, address)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # an acknowledgement must not wait for the next
        if context is not None:
            made = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
            await _shake_hands(made)
    except BaseException:
        made.close()
        raise
    return made


async def _shake_hands(secure: ssl.SSLSocket) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            secure.do_handshake()
        except ssl.SSLWantReadError:
            await _ready(loop.add_reader, loop.remove_reader, secure.fileno())
        except ssl.SSLWantWriteError:
            await _ready(loop.add_writer, loop.remove_writer, secure.fileno())
        else:
            return


async def _ready(watch: Callable[..., Any], leave: Callable[[int], bool], descriptor: int) -> None:
    ready = asyncio.Event()
    watch(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        leave(descriptor)
