"""A hub in operator mode with an owner's keys, every stream, and its provisioning service: what claim tokens are tried against."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from edgeagent import subjects, wire
from edgeagent.enrolment import Claim, ClaimToken, claim_proof
from edgeagent.hub import streams
from edgeagent.hub.administration import Administration
from edgeagent.hub.keyring import PRELOAD_ISSUED_AT
from edgeagent.hub.owner import Owner
from edgeagent.hub.provisioning import QUEUE, Provisioning
from edgeagent.hub.tokenoffice import TokenOffice
from edgeagent.link import Client, connect
from edgeagent.tokens import CREATE, TokenMade, TokenWanted
from edgeagent.trust.creds import Credentials, callbacks
from edgeagent.trust.nkeys import KeyPair
from tests.support.rogue import Message, Rogue
from tests.support.servers import Server

__all__ = ["DAY", "HOUR", "ProvisioningHub", "Services", "ask", "claim_of", "leaf_login", "running", "started"]

STORE_BYTES = 1 << 30
HOUR, DAY = 3600.0, 86_400.0
_numbers = itertools.count(1)


class ProvisioningHub(Server):
    """A nats-server, one connection to each account's service user, and ``now``: the clock that the services are given, None: the
    system's. ``revoked`` lists the keys that were put out because another board took their place."""

    def __init__(self, folder: Path, name: str = "berlin") -> None:
        super().__init__(folder)
        self.owner, self.name = Owner.create(name), name
        self.offset, self.revoked = 0.0, list[str]()
        self.authorities = ""

    def start(self) -> None:
        signed = self.owner.account_jwts(issued_at=PRELOAD_ISSUED_AT)
        self.begin(f"""
            server_name: hub
            {self.common()}
            operator: {self.owner.operator_jwt()}
            system_account: {signed["SYS"][0]}
            resolver {{ type: full, dir: "{self.folder}/jwt", allow_delete: true }}
            resolver_preload {{ {", ".join(f"{public}: {token}" for public, token in signed.values())} }}
            jetstream {{ store_dir: "{self.folder}/js", domain: hub, max_memory_store: 8M, max_file_store: {STORE_BYTES} }}
            leafnodes {{ listen: 127.0.0.1:{self.leaf_port}, isolate_leafnode_interest: true, no_advertise: true }}
        """)

    async def ready(self) -> None:
        """Wait for the server, and make its streams."""
        await super().ready()
        hub = await self.connect(self.owner.service_credentials("hub"))
        await streams.ensure(hub.jetstream(), STORE_BYTES)
        await hub.close()

    async def connect(self, login: Credentials, inbox: str = "_INBOX") -> Client:
        url = f"nats://127.0.0.1:{self.port}"
        return await connect(url, what="reach the hub", name="test", inbox_prefix=inbox, jwt=callbacks(login), reconnect=False)

    async def person(self, name: str, role: Any) -> Client:
        return await self.connect(self.owner.operator_credentials(name, role), subjects.operator_inbox(name))


@contextlib.contextmanager
def started(folder: Path) -> Iterator[ProvisioningHub]:
    """One that is ready, for a whole module of tests, each of which has an event loop of its own."""
    place = ProvisioningHub(folder)
    try:
        place.start()
        asyncio.run(place.ready())
        yield place
    finally:
        place.kill()


@dataclass
class Services:
    """The hub's side, in this process."""

    place: ProvisioningHub
    hub: Client
    provision: Client
    instances: list[Provisioning] = field(default_factory=list)
    handlers: dict[str, Any] = field(default_factory=dict)
    office: TokenOffice = field(init=False)
    pushes: int = 0

    async def pushed(self) -> None:
        """Nobody makes this server's accounts true: only that it was asked for is known."""
        self.pushes += 1

    async def token(self, by: str = "olga", **wanted: Any) -> TokenMade:
        """Make a token as the administrator ``by`` would."""
        body = wire.encode(TokenWanted(**{"expires_in_seconds": HOUR, **wanted}))
        return await self.handlers[CREATE](by, body)  # type: ignore[no-any-return]  # a handler is any

    async def another(self) -> Provisioning:
        """One more instance of the service, with connections of its own, which :func:`running` closes."""
        made = self._instance(self.hub, self.provision)
        await made.start()
        return made

    def _instance(self, hub: Client, provision: Client) -> Provisioning:
        async def revoke(key: str, record: wire.DeviceRecord) -> None:
            self.place.revoked.append(key)

        made = Provisioning(
            hub,
            provision,
            self.place.owner,
            requests=hub,
            hub_name=self.place.name,
            authorities=lambda: self.place.authorities,
            revoke=revoke,
            clock=lambda: _now() + self.place.offset,
        )
        self.instances.append(made)
        return made


def _now() -> float:
    return time.time()


@contextlib.asynccontextmanager
async def running(place: ProvisioningHub, instances: int = 1) -> AsyncIterator[Services]:
    """The services beside a server that runs, for one test. The clock is the system's again, plus ``place.offset``."""
    place.offset, place.authorities = 0.0, ""
    place.revoked.clear()
    async with contextlib.AsyncExitStack() as stack:
        hub = await place.connect(place.owner.service_credentials("hub"), "_INBOX.hub")
        stack.push_async_callback(hub.close)
        provision = await place.connect(place.owner.service_credentials("provision"), "_INBOX.provision")
        stack.push_async_callback(provision.close)
        services = Services(place, hub, provision)
        services.office = TokenOffice(
            hub,
            place.owner,
            hub_name=place.name,
            tls=False,
            authorities=lambda: place.authorities,
            push=services.pushed,
            clock=lambda: _now() + place.offset,
        )
        services.handlers = services.office.handlers()
        await stack.enter_async_context(Administration(hub, services.handlers))
        for _ in range(instances):
            await services.another()
        try:
            yield services
        finally:
            await asyncio.gather(*(instance.close() for instance in services.instances))


def leaf_login(token: str | ClaimToken) -> Credentials:
    """What a leaf logs in with: the token's JWT, and any seed."""
    jwt = token.jwt if isinstance(token, ClaimToken) else ClaimToken.parse(token).jwt
    return Credentials(jwt, KeyPair.generate("user").seed)


def claim_of(key: KeyPair, token_id: str, *, device: str = "", serial: str = "", macs: Sequence[str] = ()) -> bytes:
    """The body of a claim, signed with ``key``."""
    claim = Claim(key=key.public, proof="", device=device, serial=serial, macs=list(macs))
    proof = base64.urlsafe_b64encode(key.sign(claim_proof(token_id, claim))).rstrip(b"=").decode()
    return wire.encode(msgspec.structs.replace(claim, proof=proof))


async def ask(leaf: Rogue, subject: str, data: bytes, inbox: str) -> Message | None:
    """A request of a leaf with an inbox below ``inbox``; None when the hub closed the link instead."""
    reply = f"{inbox}.{next(_numbers)}"
    leaf.subscribe(f"{inbox}.>")  # the same one each time: a token may have few
    leaf.publish(subject, data, reply=reply, queue=QUEUE)
    return await leaf.next_on(reply)
