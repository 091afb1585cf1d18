"""The hub's nats-server: its configuration, its start, and its supervision."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from edgeagent import files
from edgeagent.assembly import hubtls
from edgeagent.errors import EdgeError, Failed
from edgeagent.hub import clusterconf
from edgeagent.hub.cluster import Cluster, server_name
from edgeagent.hub.clusterconf import ClusterConf
from edgeagent.hub.conf import HubConf, render
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import PRELOAD_ISSUED_AT, Keyring
from edgeagent.hub.tlsfolder import TlsFolder
from edgeagent.natsserver import binary, server
from edgeagent.natsserver.process import Launch
from edgeagent.natsserver.supervisor import State, Supervisor, Timing

__all__ = ["HubServer"]

log = logging.getLogger("edgeagent.hub")

#: A large store takes a while to be read after a crash.
READY_SECONDS = 300.0


class HubServer:
    """nats-server, kept running within ``async with``. What makes the very first start fail is raised there.

    cluster: the servers of which it is one; None: as its hub.toml says. mortal: it must not outlive us, however we end.
    """

    def __init__(
        self, place: HubFolder, options: HubOptions, keyring: Keyring, cluster: Cluster | None = None, *, mortal: bool = False
    ) -> None:
        self._place, self._options, self._keyring = place, options, keyring
        self._cluster = place.cluster() if cluster is None else cluster
        self._mortal = mortal
        self._was_ready, self._hopeless = False, asyncio.Event()
        self._supervisor = Supervisor(hubtls.NAME, self._prepare, timing=Timing(cap_seconds=5), on_change=self._changed)

    async def __aenter__(self) -> HubServer:
        self._binary = binary.find(self._options.server).path
        self._ports = files.make_folder(self._place.path / "ports", 0o700)
        await asyncio.to_thread(hubtls.prepare, self._place, self._options)
        _write_configuration(self._place, self._options, self._keyring, self._cluster)
        self._supervisor.start()
        try:
            await self._first_ready()
        except BaseException:
            await self._supervisor.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._supervisor.stop()

    async def until_hopeless(self) -> None:
        """Wait until a start of it has failed in a way that trying again cannot mend, and raise why."""
        await self._hopeless.wait()
        raise self._supervisor.last_problem or Failed(f"run {hubtls.NAME}", "it ended")

    def restart(self) -> None:
        """End it and start it again. Raises Closed when it is stopped."""
        self._supervisor.restart()

    async def reload(self) -> None:
        """Make it read its certificates again; no connection is closed. Raises EdgeError when it will not, or does not run."""
        child = self._supervisor.child
        if child is not None and self._supervisor.state is State.RUNNING:  # else it reads them when it starts
            await server.reload(child)

    async def _prepare(self, problem: EdgeError | None) -> Launch:
        place = self._place
        _load_early(place, self._keyring.account_public("FLEET"))  # every time: the store may have been lost with the server
        return replace(hubtls.launch_of(place, self._binary, self._ports), mortal=self._mortal)

    def _changed(self, state: State, detail: str) -> None:
        if state is State.BACKING_OFF:
            log.error("nats-server ended and is started again: %s", detail)
        # A hub that cannot start at all must say so, not try for ever.
        if state is State.FAILED or (state is State.BACKING_OFF and not self._was_ready):
            self._hopeless.set()

    async def _first_ready(self) -> None:
        ready = asyncio.ensure_future(self._supervisor.ready(READY_SECONDS))
        failed = asyncio.ensure_future(self.until_hopeless())
        try:
            done, _ = await asyncio.wait({ready, failed}, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
            self._was_ready = True
        finally:
            ready.cancel()
            failed.cancel()
            await asyncio.gather(ready, failed, return_exceptions=True)


def _load_early(place: HubFolder, account: str) -> None:
    """Make nats-server load ``account``, and those that it imports from, before it listens.

    Otherwise it does so at the account's first login, and takes the subscriptions away from every leaf that connects meanwhile: their
    links stay up and carry nothing to them (nats-server 2.15.1; 5 of 15 restarts with three leafs). It loads the owner of each
    folder in JetStream's store at the start, and removes those that are empty.
    """
    folder = files.make_folder(place.path / "store" / "jetstream" / account, 0o700)
    files.write_atomic(folder / "README", b"While this folder is here, nats-server loads its account before it listens.\n", 0o600)


def _write_configuration(place: HubFolder, options: HubOptions, keyring: Keyring, cluster: Cluster) -> None:
    certificate, key = hubtls.files_of(place, options)
    text = render(
        HubConf(
            name=server_name(options.name, cluster),
            listen=options.listen,
            client_port=options.client_port,
            leaf_port=options.leaf_port,
            ping_seconds=options.ping_seconds,
            store=place.path / "store",
            store_max_bytes=options.store_max_bytes,
            resolver=place.path / "accounts",
            log=place.log,
            ports=place.path / "ports",
            operator_jwt=keyring.operator_jwt(),
            system_account=keyring.account_public("SYS"),
            accounts=dict(keyring.account_jwts(micro=options.micro, issued_at=PRELOAD_ISSUED_AT).values()),
            websocket_port=options.websocket_port,
            compress=options.compress,
            certificate=certificate,
            key=key,
            cluster_text=clusterconf.render(_routes(place, options, keyring, cluster)),
        )
    )
    files.write_atomic(place.configuration, text.encode(), 0o600)


def _routes(place: HubFolder, options: HubOptions, keyring: Keyring, cluster: Cluster) -> ClusterConf:
    own = TlsFolder(place)
    made = (own.certificate, own.key, own.authorities) if hubtls.has_own(place, options) else (None, None, None)
    return ClusterConf(
        hub=options.name,
        listen=options.listen,
        cluster=cluster,
        secret=keyring.route_secret(),
        certificate=made[0],
        key=made[1],
        authorities=made[2],
    )
