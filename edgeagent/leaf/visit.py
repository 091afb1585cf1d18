"""A visit to the hub by a nats-server of a moment: a leaf without a store that logs in with what a new device has, asks, and ends.

So a new device reaches its hub in the very way in which its leaf will: the same port, TLS, websocket and proxy, all nats-server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

from edgeagent import files, servers
from edgeagent.enrolled import AUTHORITIES_FILE
from edgeagent.errors import Failed, Unreachable
from edgeagent.leaf.conf import ACCOUNT, AGENT_USER, SYSTEM_USER, LeafConf, leafnodes
from edgeagent.leaf.conftext import quote
from edgeagent.leaf.linkfailures import LinkFailure, explain
from edgeagent.leaf.uplink import Uplink, ask_hub
from edgeagent.link import Client, connect
from edgeagent.natsserver import logtail, ports, process, server
from edgeagent.publish import published

__all__ = ["NotLinked", "Visit", "VisitOptions"]

#: How often its log is looked at while it links, in seconds.
LOOK_SECONDS = 0.1
#: How often its server is asked whether it is linked, beside what it tells by itself, in seconds.
LOOK_AGAIN_SECONDS = 1.0
#: How long its server may take to write down where it listens, in seconds.
PORTS_SECONDS = 10.0


class NotLinked(Unreachable):
    """The hub was not reached, or did not let us in; ``failure`` says more to programs."""

    def __init__(self, what: str, failure: LinkFailure) -> None:
        super().__init__(what, failure.why, failure.remedy)
        self.failure = failure


@dataclass(frozen=True, kw_only=True)
class VisitOptions:
    """folder: for its files, removed with all that is in it before and after. binary: nats-server.

    url: of the hub, or those of its servers with commas. proxy: as in :class:`LeafConf`. server_name: what the hub lists it as; empty: a
    random one. credentials: the text of a .creds file.
    authorities: whom to trust for ``tls://`` and ``wss://``, PEM; empty: the system's authorities.
    inbox_prefix: where answers may arrive. link_seconds: the longest to wait for the link.
    """

    folder: Path
    binary: Path
    url: str
    inbox_prefix: str
    credentials: str = field(repr=False)
    proxy: str = field(default="", repr=False)
    authorities: str = ""
    server_name: str = ""
    link_seconds: float = 12.0


class Visit:
    """``async with Visit(options) as visit: await visit.linked(); await visit.request(...)``. One at a time for a folder."""

    def __init__(self, options: VisitOptions) -> None:
        self._options = options
        self._password, self._system_password = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self._stack = contextlib.AsyncExitStack()
        self._log = options.folder / "leaf.log"
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Visit:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        folder = self._options.folder
        config = folder / "leaf.conf"
        launch = server.launch(
            self._options.binary, config, name="a leaf for the visit", log=self._log, ports_folder=folder, ready_seconds=30
        )
        launch = replace(launch, mortal=True)
        await _end(process.adopt(launch))
        _clear(folder)
        files.make_folder(folder, 0o700)
        self._stack.callback(_clear, folder)
        files.write_atomic(folder / "visit.creds", self._options.credentials.encode(), 0o600)
        if self._options.authorities:
            files.write_atomic(folder / AUTHORITIES_FILE, self._options.authorities.encode(), 0o600)
        files.write_atomic(config, self._configuration().encode("utf-8", "surrogateescape"), 0o600)
        child = process.start(launch)
        self._stack.push_async_callback(_end, child)
        await child.until_ready()
        url = await _url(folder, child.pid)
        self._agent = await self._connect(url, self._options.inbox_prefix, (AGENT_USER, self._password))
        system = await self._connect(url, "_INBOX.sys", (SYSTEM_USER, self._system_password))
        self._uplink = Uplink(system, lambda connected: self._changed.set(), self._changed.set)
        await self._uplink.start()

    async def _connect(self, url: str, inbox: str, login: tuple[str, str]) -> Client:
        client = await connect(url, what="reach the leaf", name="visit", inbox_prefix=inbox, password=login, reconnect=False)
        self._stack.push_async_callback(client.close)
        return client

    def _configuration(self) -> str:
        options = self._options
        conf = LeafConf(
            server_name=self._options.server_name or f"visit-{secrets.token_hex(8)}",
            domain="visit",
            port=0,
            store=options.folder,
            agent_password=self._password,
            app_password="",
            system_password=self._system_password,
            hub_urls=tuple(servers.split(options.url)),
            credentials=options.folder / "visit.creds",
            tls_ca_file=options.folder / AUTHORITIES_FILE if options.authorities else None,
            proxy=options.proxy,
            reconnect_seconds=1.0,
        )
        return f"""server_name: {quote(conf.server_name)}
listen: "{ports.HOST}:-1"
ports_file_dir: {quote(options.folder)}
logfile: {quote(self._log)}
accounts {{
  {ACCOUNT} {{ users: [ {{ user: {AGENT_USER}, password: {quote(self._password)} }} ] }}
  SYS {{ users: [ {{ user: {SYSTEM_USER}, password: {quote(self._system_password)} }} ] }}
}}
system_account: SYS
{leafnodes(conf)}
"""

    async def linked(self) -> None:
        """Return when the hub has let it in. Raises NotLinked with the reason as soon as that is certain, or after ``link_seconds``."""
        clock = asyncio.get_running_loop().time
        deadline, look = clock() + self._options.link_seconds, clock() + LOOK_AGAIN_SECONDS
        while not self._uplink.connected:
            if clock() > look:  # the event was sent before we listened, and the list was read before it was in it
                look = clock() + LOOK_AGAIN_SECONDS
                await self._uplink.look()
                continue
            failure = explain(logtail.since(self._log, 0))
            late = clock() > deadline
            if late or (failure is not None and failure.kind != "silence"):
                raise NotLinked("link", failure or LinkFailure(why=f"it did not answer within {self._options.link_seconds:g} s"))
            self._changed.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_SECONDS)

    async def request(self, subject: str, data: bytes, *, what: str, timeout: float = 10.0) -> bytes:
        """Ask a service of the hub; see :func:`edgeagent.leaf.uplink.ask_hub`."""
        return await ask_hub(self._agent, subject, data, what=what, timeout=timeout)

    async def stored(self, subject: str, data: bytes, *, what: str, timeout: float = 10.0) -> None:
        """Return when the hub has stored this. Raises EdgeError: it says why not, or nobody answers."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        while True:  # right after the link came the hub is still telling who listens there
            try:
                await published(self._agent, subject, data, what=what, timeout=max(1.0, deadline - clock()))
                return
            except Unreachable:
                if clock() >= deadline - LOOK_AGAIN_SECONDS:
                    raise
            await asyncio.sleep(LOOK_SECONDS)


async def _url(folder: Path, pid: int) -> str:
    """Where the visit's server takes clients. It says that it is ready a moment before it has written where."""
    deadline = asyncio.get_running_loop().time() + PORTS_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        found = (ports.read(folder, pid) or {}).get("nats")
        if found:
            return str(found[0])
        await asyncio.sleep(0.01)
    raise Failed("start a leaf for the visit", f"it did not say within {PORTS_SECONDS:g} s where it listens", "is the disk full?")


async def _end(child: process.Child | None) -> None:
    if child is not None:
        await child.terminate(grace_seconds=5)
        child.release()


def _clear(folder: Path) -> None:
    """Remove the folder; raise EdgeError when it is not ours."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise Failed(f"use {folder}", "it is no folder", "remove it")
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise files.failure(f"remove {folder}", error) from None
