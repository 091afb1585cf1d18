"""Where a hub may be reached, and whether anything listens there."""

from __future__ import annotations

import asyncio
import errno
import socket
from itertools import zip_longest
from urllib.parse import urlsplit

from edgeagent import servers
from edgeagent.enrolment import Admission
from edgeagent.errors import UsageProblem

__all__ = ["LEAF_PORT", "all_servers", "candidates", "endpoint", "silence"]

#: Where hubs take leaf nodes, and where websockets.
LEAF_PORT = 7422
_WEB_PORTS = {"ws": 80, "wss": 443}
#: In the order in which they are tried. The leaf's own protocol costs less than a websocket, which passes more firewalls.
_SCHEMES = {True: ("tls", "wss"), False: ("nats-leaf", "ws")}
_KNOWN = ("nats-leaf", "nats", "tls", "ws", "wss")


def candidates(hub: str, *, tls: bool, proxy: bool) -> list[str]:
    """The addresses to try for ``hub``: a host, a host and a port, or an address with a scheme; several of one hub with commas. Pure.

    tls: nothing else may be tried. proxy: an HTTP proxy is on the way, which lets only websockets pass.
    Raises UsageProblem.
    """
    each = [_candidates(one, tls=tls, proxy=proxy) for one in servers.split(hub) or [hub]]
    # First every server by the cheaper way.
    return [url for ways in zip_longest(*each) for url in ways if url]


def _candidates(hub: str, *, tls: bool, proxy: bool) -> list[str]:
    scheme, mark, rest = hub.strip().partition("://")
    host, port = _host_and_port(rest if mark else hub.strip(), hub)
    schemes = [scheme] if mark else [name for name in _SCHEMES[tls] if not proxy or name in _WEB_PORTS]
    _check_scheme(scheme if mark else schemes[0], hub, tls=tls, proxy=proxy)
    return [f"{name}://{host}:{port or _WEB_PORTS.get(name, LEAF_PORT)}" for name in schemes]


def _host_and_port(text: str, hub: str) -> tuple[str, int | None]:
    what = f"reach the hub {hub!r}"
    remedy = "write --hub hub.example, hub.example:7422, or an address such as tls://hub.example:7422"
    try:
        parts = urlsplit(f"//{text.rstrip('/')}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UsageProblem(what, "that is no address", remedy) from None
    if not host or any(char.isspace() for char in text) or parts.path or parts.query or parts.fragment or parts.username:
        raise UsageProblem(what, "that is no address", remedy)
    return (f"[{host}]" if ":" in host else host), port


def _check_scheme(scheme: str, hub: str, *, tls: bool, proxy: bool) -> None:
    what = f"reach the hub at {hub}"
    if scheme not in _KNOWN:
        raise UsageProblem(what, f"there is no {scheme}://", f"use one of {', '.join(f'{known}://' for known in _KNOWN)}")
    if tls and scheme not in _SCHEMES[True]:
        raise UsageProblem(what, "the hub of this token is reached by TLS only", "use tls:// or wss://, or name only the host")
    if proxy and scheme not in _WEB_PORTS:
        raise UsageProblem(what, "only ws:// and wss:// pass a proxy", "use one of these, or leave out --proxy")


def all_servers(url: str, admission: Admission) -> str:
    """The address that a device keeps of the hub that took it at ``url``: with all the servers that this hub named. Pure.

    The way that worked is one of them in any case: the hub may not know how it is reached from here.
    """
    parts = urlsplit(url)
    known = admission.websockets if parts.scheme in _WEB_PORTS else admission.servers
    usable = [entry for entry in known if _is_near(parts.hostname or "") or not _is_near(urlsplit(f"//{entry}").hostname or "")]
    return servers.joined([url, *(f"{parts.scheme}://{entry}" for entry in usable)])


def _is_near(host: str) -> bool:
    """Whether it is this machine."""
    return host in ("localhost", "::1") or host.startswith("127.")


def endpoint(url: str, proxy: str = "") -> tuple[str, int]:
    """Host and port to which the leaf opens its connection for ``url``: its proxy's where there is one."""
    parts = urlsplit(proxy or url)
    default = 80 if proxy else _WEB_PORTS.get(parts.scheme, LEAF_PORT)
    return parts.hostname or "", parts.port or default


async def silence(host: str, port: int, timeout: float = 5.0) -> str:
    """Why nobody takes a TCP connection there, as half a sentence; empty when somebody does. timeout: seconds."""
    opening = asyncio.ensure_future(asyncio.open_connection(host, port))
    try:
        # Not wait_for: before Python 3.12 it can lose a cancellation.
        await asyncio.wait({opening}, timeout=timeout)
    finally:
        if not opening.done():
            opening.cancel()
            await asyncio.wait({opening})
    if opening.cancelled():
        return f"it did not answer within {timeout:g} s"
    error = opening.exception()
    if error is None:
        opening.result()[1].close()
        return ""
    return _meaning(error)


def _meaning(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return (
            "the name is not known" if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA) else "the name cannot be looked up"
        )
    if isinstance(error, ConnectionRefusedError) or getattr(error, "errno", None) == errno.ECONNREFUSED:
        return "nothing listens there"
    if getattr(error, "errno", None) in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return "there is no way to that network"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
