"""A hub in operator mode with keys of its own, and a stand-in for its provisioning service that tests can order about.

It signs with the same claims as the product (hub.accounts, hub.roles), but keeps no register: what it answers is what a test wants.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from edgeagent import enrolment, services, wire
from edgeagent.errors import EdgeError, Refused
from edgeagent.hub import accounts, roles, streams
from edgeagent.natsserver import ports
from edgeagent.trust import jwt
from edgeagent.trust.creds import GROUP_TAG, Credentials, callbacks
from edgeagent.trust.nkeys import KeyPair, verify
from tests.support.servers import Server

__all__ = ["TrustHub"]

STORE_BYTES = 1 << 30


class TrustHub(Server):
    """``async with TrustHub(folder) as hub``: a nats-server, its streams, and who answers claims and renewals.

    tls: ``(certificate, key)`` files; None for plain ports. ``jwt_seconds`` is how long the JWTs live that it signs for devices, ``jwt_age``
    how much of that is over when it signs; ``refuses`` makes it refuse, ``alters`` changes an admission and ``forges`` a renewal before it is sent; while ``open`` is clear nothing is
    answered. ``seen`` lists the subjects that it was asked on.
    """

    def __init__(self, folder: Path, *, name: str = "berlin", tls: tuple[Path, Path] | None = None) -> None:
        super().__init__(folder)
        self.name, self.tls, self.ws_port = name, tls, ports.pick()
        self.jwt_seconds: float | None = 3600.0
        self.jwt_age = 0.0
        self.groups: list[str] = []
        self.labels: dict[str, str] = {}
        self.signers: dict[str, str] = {}
        self.authorities: list[str] = []
        self.refuses: EdgeError | None = None
        self.alters: Callable[[enrolment.Admission], enrolment.Admission] = lambda admission: admission
        self.forges: Callable[[enrolment.Renewed], enrolment.Renewed] = lambda renewed: renewed
        self.open = asyncio.Event()
        self.open.set()
        self.revocations: dict[str, int] = {}
        self.used: dict[str, str] = {}
        self.seen: list[str] = []
        self._pushed_at = int(time.time())
        self._operator = KeyPair.generate("operator")
        self._accounts = {name: KeyPair.generate("account") for name in accounts.ACCOUNTS}
        self._roles = {role: KeyPair.generate("account") for role in roles.ROLES}
        self.clients: list[Client] = []

    # ---- what it signs ----

    def token(self, name: str = "t1", *, seconds: float = 3600) -> enrolment.ClaimToken:
        """A claim token. seconds: until it expires."""
        key = KeyPair.generate("user").public
        text = self._user("provision", name, key, seconds)
        return enrolment.ClaimToken(text, self.name, self.tls is not None, tuple(self.authorities))

    def device_jwt(self, device_id: str, key: str, seconds: float | None = None) -> str:
        life = self.jwt_seconds if seconds is None else seconds
        return self._user("device", device_id, key, life, [f"{GROUP_TAG}:{group}" for group in self.groups], age=self.jwt_age)

    def renewal_jwt(self, device_id: str, key: str) -> str:
        return self._user("renewal", device_id, key, None)

    def _user(
        self, role: Any, name: str, key: str, seconds: float | None, tags: list[str] | None = None, *, age: float = 0.0
    ) -> str:
        now = time.time() - age
        return jwt.scoped_user(
            self._roles[role],
            subject=key,
            name=name,
            account=self._accounts[accounts.ROLE_ACCOUNT[role]].public,
            issued_at=int(now),
            expires_at=None if seconds is None else round(now + seconds),
            tags=tags or [],
        )

    def _service(self, account: accounts.Account) -> Credentials:
        key, owner = KeyPair.generate("user"), self._accounts[account]
        text = jwt.user(owner, subject=key.public, name="hub", account=owner.public, issued_at=int(time.time()))
        return Credentials(text, key.seed)

    def _account_jwts(self) -> dict[str, str]:
        publics = {name: key.public for name, key in self._accounts.items()}
        role_keys = {role: key.public for role, key in self._roles.items()}
        tokens = {
            grant: jwt.activation(
                self._accounts[grant.exporter],
                importer=publics[grant.importer],
                subject=grant.subject,
                kind=grant.kind,
                issued_at=1,
            )
            for grant in accounts.grants(micro=False)
        }
        self._pushed_at = max(self._pushed_at + 1, int(time.time()))
        return {
            publics[name]: jwt.account(
                self._operator,
                subject=publics[name],
                name=name,
                issued_at=self._pushed_at,
                revocations=self.revocations if name == "FLEET" else None,
                **accounts.claims(name, publics=publics, role_keys=role_keys, tokens=tokens, micro=False),
            )
            for name in accounts.ACCOUNTS
        }

    # ---- its life ----

    async def __aenter__(self) -> TrustHub:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            await self.start()
            hub = await self.connect("HUB")
            await streams.ensure(hub.jetstream(), STORE_BYTES)
            await self.serve()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self.clients:
            await client.close()
        self.kill()

    async def start(self) -> None:
        """Start its nats-server, with the ports that it had before."""
        self.begin(self._configuration())
        await self.ready()

    def _configuration(self) -> str:
        preload = "\n".join(f"{public}: {token}" for public, token in self._account_jwts().items())
        files = f'cert_file: "{self.tls[0]}", key_file: "{self.tls[1]}", timeout: 10' if self.tls else ""
        leaf_tls = f"tls {{ {files}, handshake_first: true }}" if self.tls else ""
        ws_tls = f"tls {{ {files} }}" if self.tls else "no_tls: true"
        operator = jwt.operator(
            self._operator, name="test", system_account=self._accounts["SYS"].public, issued_at=int(time.time())
        )
        return f"""
            server_name: hub
            {self.common()}
            operator: {operator}
            system_account: {self._accounts["SYS"].public}
            resolver {{ type: full, dir: "{self.folder}/jwt" }}
            resolver_preload {{ {preload} }}
            jetstream {{ store_dir: "{self.folder}/js", domain: hub, max_memory_store: 8M, max_file_store: {STORE_BYTES} }}
            leafnodes {{
              listen: 127.0.0.1:{self.leaf_port}, isolate_leafnode_interest: true, no_advertise: true
              {leaf_tls}
            }}
            websocket {{
              listen: 127.0.0.1:{self.ws_port}
              {ws_tls}
            }}
        """

    async def connect(self, account: accounts.Account, port: int = 0) -> Client:
        """A client with every right in ``account``; closed with the hub. port: of another way to it, 0 for its own."""
        give, sign = callbacks(self._service(account))
        client = await nats.connect(
            f"nats://127.0.0.1:{port or self.port}",
            user_jwt_cb=give,
            signature_cb=sign,
            reconnect_time_wait=0.2,
            max_reconnect_attempts=-1,
        )
        self.clients.append(client)
        return client

    async def revoke(self, key: str, *, until_then: int | None = None) -> None:
        """Refuse every JWT that ``key`` was issued up to a moment, Unix seconds; None: for ever."""
        self.revocations[key] = 1 << 40 if until_then is None else until_then
        await self._push()

    async def unrevoke(self, key: str) -> None:
        del self.revocations[key]
        await self._push()

    async def deafen(self) -> None:
        """Change what OPS exports to people: nats-server 2.15.1 takes away the subscriptions of every leaf for that, and its link stays up."""
        self._roles["viewer"] = KeyPair.generate("account")
        await self._push("OPS")

    async def _push(self, account: accounts.Account = "FLEET") -> None:
        system = await self.connect("SYS")
        token = self._account_jwts()[self._accounts[account].public]
        answer = await system.request("$SYS.REQ.CLAIMS.UPDATE", token.encode(), timeout=10)
        assert b'"code":200' in answer.data, answer.data

    def log(self) -> bytes:
        return (self.folder / "hub.log").read_bytes()

    async def queried(self, device_id: str) -> bool:
        """Whether the device answers a query now."""
        ops = await self.connect("OPS")
        try:
            answers = await ops.subscribe(f"edge.from.{device_id}.reply.olga.*")
            await ops.publish("edge.to.fleet.all.query", wire.encode(wire.Query(token="q")), reply="_INBOX.ops.olga.x")
            await answers.next_msg(timeout=1)
        except (TimeoutError, asyncio.TimeoutError):
            return False
        finally:
            await ops.close()
        return True

    # ---- the service ----

    async def serve(self) -> None:
        provision, hub = await self.connect("PROVISION"), await self.connect("HUB")
        await provision.subscribe("provision.claim.*", cb=self._claimed)
        await provision.subscribe("provision.renew.*", cb=self._asked)
        await hub.subscribe("edge.from.*.request.renew", cb=self._asked)
        for client in (provision, hub):
            await client.flush()

    async def _claimed(self, message: Msg) -> None:
        await self._answer(message, self._admit)

    async def _asked(self, message: Msg) -> None:
        await self._answer(message, self._renew)

    async def _answer(self, message: Msg, act: Callable[[Msg], Any]) -> None:
        self.seen.append(message.subject)
        await self.open.wait()
        try:
            if self.refuses is not None:
                raise self.refuses
            data = services.answer(act(message))
        except EdgeError as error:
            data = services.refusal(error)
        await message.respond(data)

    def _admit(self, message: Msg) -> enrolment.Admission:
        token_id = message.subject.rpartition(".")[2]
        claim = wire.decode(message.data, enrolment.Claim)
        proof = base64.urlsafe_b64decode(claim.proof + "=" * (-len(claim.proof) % 4))
        if not verify(claim.key, enrolment.claim_proof(token_id, claim), proof):
            raise Refused("admit this device", "it does not prove that it has the key")
        if self.used.setdefault(token_id, claim.key) != claim.key:
            raise Refused("admit this device", "the token was used by another device")
        device_id = claim.device or "pi-by-token"
        return self.alters(
            enrolment.Admission(
                id=device_id,
                jwt=self.device_jwt(device_id, claim.key),
                renewal=self.renewal_jwt(device_id, claim.key),
                hub=self.name,
                signers=self.signers,
                authorities=self.authorities,
                groups=self.groups,
                labels=self.labels,
            )
        )

    def _renew(self, message: Msg) -> enrolment.Renewed:
        device_id = message.subject.split(".")[2]
        key = wire.decode(message.data, enrolment.Renewal).key
        made = enrolment.Renewed(jwt=self.device_jwt(device_id, key), renewal=self.renewal_jwt(device_id, key))
        return self.forges(made)
