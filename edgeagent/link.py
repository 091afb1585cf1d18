"""One way to connect to a nats-server, used by the device, the hub and the operator, with errors in our own words.

nats-py reconnects by itself once a connection was good; this module only sees to it that the *first* connection says plainly why
it failed, and that the pauses of many clients differ.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import nats.errors
import nats.protocol.parser
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from edgeagent import serverpool, servers
from edgeagent.errors import Closed, EdgeError, Failed, Refused, Unreachable
from edgeagent.trust import tls

__all__ = ["Client", "Unanswered", "connect", "heard_first", "peer_name", "request", "server_version", "settle", "why_closed"]

log = logging.getLogger(__name__)

#: How often each of several servers is tried again by a one-shot command that has lost its own; with the pauses some 10 s.
_TRIES = 20

Callback = Callable[[], Awaitable[None]]
#: What nats-py wants for a login by JWT: give the JWT, sign the server's nonce.
JwtLogin = tuple[Callable[[], bytearray | bytes], Callable[[str], bytes]]
#: The same for a login by nkey: the public key, sign the server's nonce.
NkeyLogin = tuple[str, Callable[[str], bytes]]

# The server splits a line at blanks and tabs only, and passes any other byte of a subject on. nats-py 2.16 splits at \v and \f too, so
# whoever may publish anywhere that we listen could choose which of our subscriptions hears it, an administrator's for example.
_WORD = rb"([^ \t\r\n]+)[ \t]+"
nats.protocol.parser.MSG_RE = re.compile(rb"\AMSG[ \t]+%(w)s([0-9]+)[ \t]+(%(w)s)?([0-9]+)\r\n" % {b"w": _WORD})
nats.protocol.parser.HMSG_RE = re.compile(rb"\AHMSG[ \t]+%(w)s([0-9]+)[ \t]+(%(w)s)?([0-9]+)[ \t]+([0-9]+)\r\n" % {b"w": _WORD})


@lru_cache(maxsize=256)
def _header_name(raw: bytes) -> str:
    """The name of a header, empty for what can't be one. The hub's are few, and met thousands of times."""
    name = raw.strip().decode("ascii", "replace")
    return name if name.isascii() and len(name.split()) == 1 else ""


#: Takes the headers and the data of a message, as they were sent; False when it is to go the usual way.
Hearer = Callable[[bytes, bytes], bool]


class _Connection(tls.TlsClient):
    """nats-py's client, which stays able to hear whatever is sent to it."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self.hearers: dict[int, Hearer] = {}

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        # nats-py 2.16 looks at each character of each name: half the time that a batch of small messages takes.
        parts = [line.partition(b":") for line in raw.split(b"\r\n")]
        return {
            name: value.strip().decode("utf-8", "replace")
            for raw_name, sep, value in parts
            if sep and (name := _header_name(raw_name))
        }

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        hear = self.hearers.get(sid)
        if hear is not None and hear(headers, data):
            return
        # Subjects that are no UTF-8 and headers that are none raise; nats-py would stop reading then, and still call itself connected.
        try:
            await super()._process_msg(sid, subject, reply, data, headers)
        except (ValueError, IndexError) as error:
            log.debug("dropped a message that makes no sense: %s", error)


async def connect(
    url: str,
    *,
    what: str,
    name: str,
    inbox_prefix: str,
    password: tuple[str, str] | None = None,
    jwt: JwtLogin | None = None,
    nkey: NkeyLogin | None = None,
    authorities: Path | None = None,
    server_name: str = "",
    in_order: bool = False,
    reconnect: bool = True,
    on_disconnected: Callback | None = None,
    on_reconnected: Callback | None = None,
    on_closed: Callback | None = None,
) -> Client:
    """Connect to ``url``, or to one of several with commas between them, and return nats-py's client.

    what: names the other end in errors (``"reach the hub"``).
    name: how this client is listed by the server.
    password: ``(user, password)``. jwt: ``(user_jwt_cb, signature_cb)``. nkey: ``(public key, signature_cb)``. None of them: no login.
    authorities: PEM file with the certificate authorities that may have signed the server's certificate, read anew at every dial;
    None: the system's. With it, or with a url of ``tls://`` or ``wss://``, nothing is said to a server without TLS.
    server_name: whom the certificate must name; empty: the host of ``url``. Of several servers it is said of the first.
    in_order: of several servers begin with the first; otherwise with any.
    reconnect: come back by itself for ever, with pauses of 0.2 to 1 s; False for one-shot commands, which go to another server if there
    is one, and give up after some seconds.
    on_closed: called when it is closed for good, by us or not. nats-py does so at any error of the server's but a missing right or a
    stale connection, and never comes back; so a process that lives on its connection has to end or to connect anew then
    (``runtime.Tasks.fail`` with :func:`why_closed`).
    Raises Unreachable when nothing answers there, or something that is not to be trusted; Refused when it does not let us in,
    UsageProblem for a url that cannot work here.
    """
    login = _login(password, jwt, nkey)
    first, *others = urls = servers.split(url) or [url]
    if not in_order:
        random.shuffle(urls)

    async def dial(one: str, seconds: int) -> Client:
        return await _dial(
            one,
            what,
            seconds,
            nkey,
            authorities,
            server_name if one == first else "",
            name=name,
            inbox_prefix=inbox_prefix.encode(),
            disconnected_cb=on_disconnected,
            reconnected_cb=on_reconnected,
            closed_cb=on_closed,
            **login,
        )

    client, reached = await serverpool.first_of(urls, what, dial)
    if others:
        serverpool.extend(client, urls, reached, {first: server_name}, in_order=in_order)
    if reconnect or others:
        tries = -1 if reconnect else _TRIES
        client.options.update(allow_reconnect=True, max_reconnect_attempts=tries, reconnect_time_wait=random.uniform(0.2, 1.0))
    return client


def _login(password: tuple[str, str] | None, jwt: JwtLogin | None, nkey: NkeyLogin | None) -> dict[str, Any]:
    """What nats-py is told of a login."""
    if jwt:
        return {"user_jwt_cb": jwt[0], "signature_cb": jwt[1]}
    if nkey:
        return {"signature_cb": nkey[1]}
    return {"user": password[0], "password": password[1]} if password else {}


async def _dial(
    url: str,
    what: str,
    seconds: int,
    nkey: NkeyLogin | None,
    authorities: Path | None,
    server_name: str,
    **more: Any,
) -> Client:
    """One server. more: for nats-py. Raises as :func:`connect`."""
    scheme = url.partition("://")[0]
    tls.check_usable(scheme, what)
    client = _Connection(authorities, secure=authorities is not None or scheme in ("tls", "wss"))
    seen: list[Exception] = []
    if nkey:
        client._public_nkey, client._auth_configured = nkey[0], True  # nats-py's own way needs the package nkeys

    async def on_error(error: Exception) -> None:
        seen[:] = [*seen[-3:], error]
        log.debug("%s: %s", more["name"], error)

    try:
        await client.connect(
            servers=[url],
            error_cb=on_error,
            connect_timeout=seconds,
            allow_reconnect=False,  # so that the first dial ends with the true error; see below
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            drain_timeout=3,
            tls_hostname=server_name or None,
            **more,
        )
    except (OSError, nats.errors.Error, asyncio.TimeoutError, ValueError, EdgeError) as error:
        # NoServersError hides what happened; error_cb has seen it.
        cause = seen[-1] if isinstance(error, nats.errors.NoServersError) and seen else error
        await client.abandon()
        raise cause if isinstance(cause, EdgeError) else _plain(cause, url, what, seconds) from None
    return client


@contextlib.contextmanager
def heard_first(client: Client, subscription: Subscription, hear: Hearer) -> Iterator[None]:
    """Within the block ``hear`` is asked first about each message of the subscription: for thousands of small ones, of which nats-py's headers,
    queue and task are most of the work. What it leaves to the usual way is heard later than what it takes."""
    assert isinstance(client, _Connection)
    client.hearers[subscription._id] = hear
    try:
        yield
    finally:
        del client.hearers[subscription._id]


def _plain(error: BaseException, url: str, what: str, seconds: int) -> EdgeError:
    text = str(error).removeprefix("nats: ").strip("'\" ")
    distrusted = tls.explain(error, url, what)
    if distrusted is not None:
        return distrusted
    error = tls.inner(error)
    if isinstance(error, nats.errors.AuthorizationError) or "authorization" in text.lower() or "authentication" in text.lower():
        return Refused(
            what, f"the server at {url} does not accept these credentials", "They may be of another hub, expired or revoked"
        )
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(what, f"nothing listens at {url}", "start it, or check the address")
    if isinstance(error, asyncio.TimeoutError):
        return Unreachable(what, f"{url} did not answer within {seconds} s", "check the address and the firewall")
    return Unreachable(what, f"{url}: {text or type(error).__name__}", "check the address")


def server_version(client: Client) -> str:
    """The version of the nats-server at the other end, as it says itself."""
    return str(client._server_info.get("version", ""))  # nats-py shows only its parts, and none of a development version's


def peer_name(client: Client) -> str:
    """The name of the nats-server at the other end, as it says itself."""
    return str(client._server_info.get("server_name", ""))  # nats-py has it nowhere else


def why_closed(client: Client, what: str) -> Closed:
    """The error for whoever still wanted something of a connection that was closed; the server's last words are part of it."""
    said = str(client.last_error or "").removeprefix("nats: ").strip("'\" ")
    return Closed(what, f"the server closed the connection ({said})" if said else "the connection is closed")


class Unanswered(Unreachable):
    """Somebody may have taken it all the same."""


async def request(
    client: Client, subject: str, data: bytes = b"", *, what: str, timeout: float = 5.0, headers: dict[str, str] | None = None
) -> Any:
    """One request and its answer (nats-py's message), with errors in our words.

    timeout: seconds. Raises Unreachable when nobody listens, Unanswered when nobody answers in time, Closed when the connection is gone.
    """
    try:
        return await client.request(subject, data, timeout=timeout, headers=headers)
    except nats.errors.NoRespondersError:
        raise Unreachable(what, "nobody answers there, or it is not allowed") from None
    except (nats.errors.TimeoutError, asyncio.TimeoutError):
        raise Unanswered(what, f"no answer within {timeout:g} s") from None
    except nats.errors.ConnectionClosedError:
        raise Closed(what, "the connection is closed") from None
    except (nats.errors.Error, OSError) as error:
        raise Failed(what, str(error)) from None


async def settle(client: Client, *, what: str, timeout: float = 10.0) -> None:
    """Return when the server has read every subscription and message of ours.

    One ``flush`` is not enough: its PING overtakes what still waits in the client's buffer (nats-py 2.16); the second one is behind it.
    timeout: seconds for each. Raises Unreachable when the server does not answer, Closed when the connection is gone.
    """
    try:
        await client.flush(timeout)  # type: ignore[arg-type]  # nats-py waits for fractions of a second too
        await client.flush(timeout)  # type: ignore[arg-type]  # as above
    except nats.errors.ConnectionClosedError:
        raise Closed(what, "the connection is closed") from None
    except nats.errors.Error as error:
        raise Unreachable(what, str(error).removeprefix("nats: ")) from None
