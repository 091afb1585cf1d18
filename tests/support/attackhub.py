"""A hub in operator mode made of our own keyring, accounts and streams, and the world that attacks on it are tried in.

Nothing here waits for a time to pass. That something did *not* happen is known by barriers: the attacker's own request, sent after
the attack on the same connection, was answered; and every stream then refused a publish of ours, so that all before it was taken.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from edgeagent.hub import streams
from edgeagent.hub.owner import Owner
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials, callbacks
from edgeagent.trust.nkeys import KeyPair
from tests.support.rogue import PATIENCE_SECONDS, Rogue

__all__ = [
    "ATTACKER",
    "STORE_BYTES",
    "TARGETS",
    "UPLOAD",
    "VICTIM",
    "Growth",
    "Hub",
    "Target",
    "World",
    "account_user",
    "fill",
    "hub_config",
    "inhabited",
    "intruders",
    "port_of",
    "settle",
    "start",
]

STORE_BYTES = 1_000_000_000
#: A stream takes no message with this header: it answers an error, after all that was sent before.
REFUSED = {"Nats-Expected-Last-Sequence": "999999999"}
VICTIM, ATTACKER = "pi-1", "pi-9"
#: The id of a file that was pushed.
UPLOAD = "0123456789abcdef" * 2
Growth = dict[str, tuple[int, int]]


class Target(NamedTuple):
    subject: str
    stream: str = ""  # the one that would store it

    def __str__(self) -> str:
        return self.subject


TARGETS = [
    Target(f"edge.from.{VICTIM}.report", "EDGE_REPORTS"),
    Target(f"edge.from.{VICTIM}.heartbeat", "EDGE_REPORTS"),
    Target(f"edge.from.{VICTIM}.result.01ABC", "EDGE_RESULTS"),
    Target(f"edge.from.{VICTIM}.metric", "EDGE_METRICS"),
    Target(f"edge.from.{VICTIM}.event.info", "EDGE_EVENTS"),
    Target(f"edge.from.{VICTIM}.data", "EDGE_DATA"),
    Target("edge.to.fleet.all.cmd.999999", "EDGE_COMMANDS"),
    Target(f"edge.to.device.{VICTIM}.cmd.500", "EDGE_COMMANDS"),
    Target("$KV.edge_config.fleet.all", "KV_edge_config"),
    Target("$KV.edge_trust.signers", "KV_edge_trust"),
    Target("$KV.edge_trust.authorities", "KV_edge_trust"),
    Target(f"$KV.edge_presence.{VICTIM}", "KV_edge_presence"),
    Target(f"$KV.edge_devices.{VICTIM}", "KV_edge_devices"),
    Target("$KV.edge_people.olga", "KV_edge_people"),
    Target("$KV.edge_tokens.token.abc234", "KV_edge_tokens"),
    Target("$KV.edge_revocations.FLEET.UABC", "KV_edge_revocations"),
    Target(f"edge.file.{UPLOAD}.1", "EDGE_FILES"),
    Target(f"edge.file.{UPLOAD}.9"),
    Target(f"edge.from.{VICTIM}.file", "EDGE_UPLOADS"),
    Target(f"edge.from.{VICTIM}.reply.olga.7"),
    Target(f"edge.from.{VICTIM}.reply.eve.7"),
    Target(f"edge.from.{VICTIM}.request.renew"),
    Target(f"edge.live.{VICTIM}.report"),
    Target(f"edge.live.{VICTIM}.presence"),
    Target("_INBOX.ops.olga.zz"),
    Target("_INBOX.ops.eve.zz"),
    Target("_INBOX.srv.olga.zz"),
    Target("_R_.aaaaaa.bbbbbb"),
    Target(f"edge.api.DIRECT.GET.EDGE_REPORTS.edge.from.{VICTIM}.report"),
    Target("edge.api.DIRECT.GET.EDGE_REPORTS"),
    Target("$JS.API.STREAM.DELETE.EDGE_REPORTS"),
    Target("$JS.API.STREAM.PURGE.EDGE_COMMANDS"),
    Target("$JS.hub.API.STREAM.PURGE.KV_edge_config"),
    Target("$SYS.REQ.CLAIMS.UPDATE"),
    Target("provision.claim.pi-1"),
    Target("provision.renew.pi-1"),
    Target("edge.admin.olga.device_revoke"),
]


@dataclass
class Hub:
    keyring: Owner
    port: int
    leaf_port: int
    folder: Path

    async def connect(self, credentials: Credentials, inbox: str = "_INBOX") -> Client:
        """A client whose ``seen_errors`` lists what the server complained of."""
        seen: list[str] = []

        async def note(error: Exception) -> None:
            seen.append(str(error))

        give_jwt, sign = callbacks(credentials)
        client = await nats.connect(
            f"nats://127.0.0.1:{self.port}",
            user_jwt_cb=give_jwt,
            signature_cb=sign,
            inbox_prefix=inbox.encode(),
            error_cb=note,
            allow_reconnect=False,
            max_reconnect_attempts=1,
        )
        client.seen_errors = seen
        return client

    async def person(self, name: str, role: Any) -> Client:
        return await self.connect(self.keyring.operator_credentials(name, role), f"_INBOX.ops.{name}")

    async def device(self, device_id: str, *groups: str, is_hub: bool = False) -> Rogue:
        return await Rogue.connect(self.leaf_port, self.keyring.device_credentials(device_id, groups), is_hub=is_hub)


def nats_server() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    return str(beside) if beside.exists() else shutil.which("nats-server") or pytest.skip("no nats-server here")


def start(folder: Path, config: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start nats-server and wait for its banner; the process and the log so far."""
    (folder / "server.conf").write_text(config)
    log = folder / "server.log"
    process = subprocess.Popen([nats_server(), "-c", str(folder / "server.conf"), "-l", str(log)])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "Server is ready" not in (log.read_text() if log.exists() else ""):
        assert process.poll() is None and time.monotonic() < deadline, log.read_text() if log.exists() else "no log"
        time.sleep(0.01)
    return process, log.read_text()


def hub_config(
    folder: Path,
    keyring: Owner,
    signed: dict[Any, tuple[str, str]],
    *,
    name: str = "hub",
    port: int = -1,
    leaf_port: int = -1,
    more: str = "",
) -> str:
    """port, leaf_port: -1 for whichever is free, which the log tells. more: further blocks."""
    return f"""
        server_name: {name}
        listen: 127.0.0.1:{port}
        operator: {keyring.operator_jwt()}
        system_account: {signed["SYS"][0]}
        resolver {{ type: full, dir: "{folder}/jwt" }}
        resolver_preload {{ {", ".join(f"{public}: {token}" for public, token in signed.values())} }}
        jetstream {{ store_dir: "{folder}/store", domain: hub, max_memory_store: 8M, max_file_store: {STORE_BYTES} }}
        leafnodes {{ listen: 127.0.0.1:{leaf_port}, isolate_leafnode_interest: true, no_advertise: true }}
        {more}
    """


def port_of(what: str, log: str) -> int:
    found = re.search(rf"Listening for {what} connections on 127\.0\.0\.1:(\d+)", log)
    assert found, log
    return int(found[1])


def intruders(folder: Path, keyring: Owner) -> dict[str, tuple[str, str]]:
    """Accounts signed by the operator that import what was never granted: with no token, and with the one that FLEET has."""
    fleet = jwt.claims(keyring.account_jwts()["FLEET"][1])["nats"]["imports"]
    stolen = next(claim for claim in fleet if claim["subject"] == "edge.from.*.report")
    naked = {key: value for key, value in stolen.items() if key != "token"}
    return {name: intruder(folder, keyring, name, claim) for name, claim in (("naked", naked), ("stolen", stolen))}


def intruder(folder: Path, keyring: Owner, name: str, claim: dict[str, Any]) -> tuple[str, str]:
    key = KeyPair.generate("account")
    (folder / name).write_text(key.seed)
    return key.public, jwt.account(
        keyring.key("operator"), subject=key.public, name=name, issued_at=int(time.time()), imports=[claim]
    )


def account_user(folder: Path, name: str) -> Credentials:
    account, key = KeyPair.from_seed((folder / name).read_text()), KeyPair.generate("user")
    token = jwt.user(account, subject=key.public, name="x", account=account.public, issued_at=int(time.time()))
    return Credentials(token, key.seed)


async def fill(hub: Hub, *, replicas: int = 1) -> None:
    """The streams, and in each of them something of the victim's that could be overwritten."""
    client = await hub.connect(hub.keyring.service_credentials("hub"))
    assert await streams.ensure(client.jetstream(), STORE_BYTES, replicas=replicas) == [stream.name for stream in streams.STREAMS]
    for target in TARGETS:
        if target.stream:
            await client.request(target.subject, b"TRUE")
    await client.request(f"edge.from.{ATTACKER}.report", b"FORGED")
    await client.request(f"edge.from.{ATTACKER}.heartbeat", b"FORGED")
    await client.close()


async def settle(client: Client) -> None:
    """Wait until the server has taken all that was published. Twice, as nats-py's PING overtakes what it has buffered."""
    await client.flush()
    await client.flush()


# ---- the world a test attacks ------------------------------------------------------------------------------------------------


@dataclass
class World:
    """Who is there: hub serve, a viewer, an operator and an honest device, each listening to all that it may."""

    hub: Hub
    serve: Client
    viewer: Client
    operator: Client
    victim: Rogue
    heard: list[Msg] = field(default_factory=list)
    before: dict[str, tuple[int, int]] = field(default_factory=dict)

    async def listen(self) -> None:
        async def hear(message: Msg) -> None:
            self.heard.append(message)

        for subject in ("edge.>", "$KV.>"):
            await self.serve.subscribe(subject, cb=hear)
        for name, client in (("eve", self.viewer), ("olga", self.operator)):
            for subject in ("edge.live.>", f"edge.from.*.reply.{name}.*", f"_INBOX.ops.{name}.zz"):
                await client.subscribe(subject, cb=hear)
            await settle(client)
        await settle(self.serve)
        for subject in (
            *(f"edge.to.device.{VICTIM}.>", "edge.to.group.berlin.>", "edge.to.fleet.all.>"),
            *("edge.to.trust.signers.config", "edge.to.trust.authorities.config"),
        ):
            self.victim.subscribe(subject)
        assert await self.victim.settle()
        self.before = await self.photograph()

    async def photograph(self) -> dict[str, tuple[int, int]]:
        """Messages and last sequence of every stream, once it has taken all that was on its way."""
        declared = [stream for stream in streams.STREAMS if stream.subjects]
        await asyncio.gather(*[self._refused_publish(stream.subjects[0]) for stream in declared])
        infos = await asyncio.gather(*[self.serve.jetstream().stream_info(stream.name) for stream in declared])
        return {info.config.name: (info.state.messages, info.state.last_seq) for info in infos}

    async def _refused_publish(self, pattern: str) -> None:
        answer = await self.serve.request(pattern.replace("*", "sentinel").replace(">", "sentinel"), headers=REFUSED)
        assert json.loads(answer.data)["error"]["err_code"] == 10071

    async def growth(self) -> Growth:
        """``{stream: (messages more, sequences more)}`` since the beginning, of those that changed."""
        now = await self.photograph()
        return {
            name: (messages - self.before[name][0], last - self.before[name][1])
            for name, (messages, last) in now.items()
            if (messages, last) != self.before[name]
        }

    async def fooled(self, speaker: str = ATTACKER) -> list[str]:
        """What people and hub serve heard that was neither of ``speaker`` under its own name nor of this test's barriers."""
        for client in (self.serve, self.viewer, self.operator):
            await settle(client)
        own = (f"edge.from.{speaker}.", f"edge.live.{speaker}.")
        return [m.subject for m in self.heard if not m.subject.startswith(own) and "sentinel" not in m.subject]

    async def heard_by_people(self) -> list[Msg]:
        """What came to the live views, query answers and inboxes of people."""
        await settle(self.viewer)
        await settle(self.operator)
        return [m for m in self.heard if m.subject.startswith(("edge.live.", "_INBOX.ops.")) or ".reply." in m.subject]


@asynccontextmanager
async def inhabited(hub: Hub, kind: type[World] = World) -> AsyncIterator[World]:
    """The world around ``hub``, for one test. kind: how it is photographed."""
    made = kind(
        hub,
        await hub.connect(hub.keyring.service_credentials("hub")),
        await hub.person("eve", "viewer"),
        await hub.person("olga", "operator"),
        await hub.device(VICTIM, "berlin"),
    )
    try:
        await made.listen()
        yield made
    finally:
        await made.victim.close()
        for client in (made.serve, made.viewer, made.operator):
            await client.close()
