"""The attacks of test_attacks.py on a cluster of three hubs: the attacker's leaf on each of them in turn, the others elsewhere.

Answers there come from whichever server is nearest or leads a stream, and cross routes; the three-account layout must hold all the
same. Left out are rows that never get beyond the server that the attacker is connected to: logins, limits, headers that a stream
refuses, and those of people who are limited to groups. Of the reply targets each stream is here once, and one of each other kind.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg

from edgeagent.direct import get_last
from edgeagent.hub import cluster as settings
from edgeagent.hub import clusterconf, streams
from edgeagent.hub.clusterconf import ClusterConf
from edgeagent.hub.conf import HubConf, render
from edgeagent.hub.owner import Owner
from edgeagent.natsserver import ports
from edgeagent.subjects import direct_get, is_id
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from tests.live import test_attacks as attacks
from tests.support.attackhub import ATTACKER, STORE_BYTES, TARGETS, VICTIM, Hub, Target, World, fill, inhabited, settle, start
from tests.support.rogue import PATIENCE_SECONDS, Rogue
from tests.support.servers import until

SERVERS = 3


# ---- three servers -----------------------------------------------------------------------------------------------------------


@dataclass
class Cluster:
    keyring: Owner
    folder: Path
    ports: list[int]
    leaf_ports: list[int]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(Owner.create("hub"), tmp_path_factory.mktemp("cluster"), picked(), picked())
    processes: list[subprocess.Popen[bytes]] = []
    try:
        processes += [started(made, number, config) for number, config in enumerate(configs(made))]
        asyncio.run(filled(made))
        yield made
    finally:
        for process in processes:
            process.kill()
            process.wait()


def picked() -> list[int]:
    return [ports.pick() for _ in range(SERVERS)]


def configs(made: Cluster) -> list[str]:
    """What `hub up` writes for each: the same operator and accounts; each has a resolver and a store of its own."""
    signed, routed = dict(made.keyring.account_jwts().values()), picked()
    routes = [f"127.0.0.1:{port}" for port in routed]
    texts = []
    for number in range(SERVERS):
        folder = made.folder / str(number)
        own = settings.Cluster(number=number + 1, port=routed[number], routes=routes)
        member = ClusterConf(hub="hub", listen="127.0.0.1", cluster=own, secret=made.keyring.route_secret())
        conf = HubConf(
            name=settings.server_name("hub", own),
            listen="127.0.0.1",
            client_port=made.ports[number],
            leaf_port=made.leaf_ports[number],
            ping_seconds=300,
            store=folder / "store",
            store_max_bytes=STORE_BYTES,
            resolver=folder / "jwt",
            log=folder / "server.log",
            ports=folder,
            operator_jwt=made.keyring.operator_jwt(),
            system_account=made.keyring.account_public("SYS"),
            accounts=signed,
            cluster_text=clusterconf.render(member),
        )
        texts.append(render(conf))
    return texts


def started(made: Cluster, number: int, config: str) -> subprocess.Popen[bytes]:
    folder = made.folder / str(number)
    folder.mkdir()
    return start(folder, config)[0]


async def filled(made: Cluster) -> None:
    hub = ClusterHub.beside(made, 0)
    client = await hub.connect(made.keyring.service_credentials("hub"))

    async def has_a_leader() -> bool:
        try:
            return json.loads((await client.request("$JS.API.INFO", timeout=1)).data).get("error") is None
        except Exception:  # whatever nats-py makes of a cluster that has no leader yet
            return False

    await until(has_a_leader, "JetStream has a leader")
    await client.close()
    await fill(hub, replicas=SERVERS)
    for number in range(SERVERS):
        await caught_up(ClusterHub.beside(made, number))


async def caught_up(hub: ClusterHub) -> None:
    """Wait until this server's copies have what was filled in: Direct Gets are answered by the nearest copy."""
    client = await hub.connect(hub.keyring.service_credentials("hub"))

    async def there() -> bool:
        found = await get_last(client, "EDGE_REPORTS", f"edge.from.{ATTACKER}.heartbeat", prefix="$JS.API")
        return found is not None and found.data == b"FORGED"

    await until(there, "the copies are whole")
    await client.close()


@dataclass
class ClusterHub(Hub):
    """The cluster as it is seen with the attacker on server ``beside``: hub serve, which closes the barriers, is there too; the victim
    and the viewer are on the next one, the operator on the third."""

    ports: list[int] = field(default_factory=list)
    leaf_ports: list[int] = field(default_factory=list)

    @classmethod
    def beside(cls, made: Cluster, number: int) -> ClusterHub:
        turned = [made.ports[(number + step) % SERVERS] for step in range(SERVERS)]
        leafs = [made.leaf_ports[(number + step) % SERVERS] for step in range(SERVERS)]
        return cls(made.keyring, turned[0], leafs[0], made.folder, turned, leafs)

    async def person(self, name: str, role: Any) -> Client:
        elsewhere = Hub(self.keyring, self.ports[1 if role == "viewer" else 2], 0, self.folder)
        return await elsewhere.person(name, role)

    async def person_here(self, name: str, role: Any) -> Client:
        return await super().person(name, role)

    async def device(self, device_id: str, *groups: str, is_hub: bool = False) -> Rogue:
        port = self.leaf_ports[1] if device_id == VICTIM else self.leaf_ports[0]
        return await Rogue.connect(port, self.keyring.device_credentials(device_id, groups), is_hub=is_hub)


class ClusterWorld(World):
    """Its barrier is a publish that every stream *stores*: acknowledged by a majority, it comes after all that was taken before. What the
    barriers themselves have stored is subtracted."""

    async def photograph(self) -> dict[str, tuple[int, int]]:
        self._stored = getattr(self, "_stored", 0) + 1
        declared = [stream for stream in streams.STREAMS if stream.subjects]
        return dict(await asyncio.gather(*[self._marked(stream.name, stream.subjects[0]) for stream in declared]))

    async def _marked(self, name: str, pattern: str) -> tuple[str, tuple[int, int]]:
        # A command's number is taken once, and so is that of a piece of a file.
        mark = f"sentinel{KeyPair.generate('user').public}" if name in ("EDGE_COMMANDS", "EDGE_FILES") else "sentinel"
        subject = re.sub(r"[*>]$", mark, pattern).replace("*", "sentinel")
        ack = json.loads((await self.serve.request(subject, b"", timeout=PATIENCE_SECONDS)).data)
        assert ack.get("stream") == name, ack
        ours = re.sub(r"sentinel\w+$", "*", subject)
        found = await self.serve.jetstream().stream_info(name, subjects_filter=ours)
        return name, (found.state.messages - sum((found.state.subjects or {}).values()), ack["seq"] - self._stored)


@pytest.fixture(scope="module", params=range(SERVERS), ids=lambda number: f"server {number}")
def hub(cluster: Cluster, request: pytest.FixtureRequest) -> ClusterHub:
    return ClusterHub.beside(cluster, request.param)


@pytest_asyncio.fixture
async def world(hub: ClusterHub) -> AsyncIterator[World]:
    async with inhabited(hub, ClusterWorld) as made:
        yield made


# ---- naming somebody else's subject as the reply -------------------------------------------------------------------------------

#: One target in each stream, and one of each kind that no stream stores.
_OTHERS = (
    "edge.from.pi-1.reply.olga",
    "edge.live.pi-1.report",
    "_INBOX.ops",
    "_R_.",
    "$JS.API.STREAM.DELETE",
    "$SYS.",
    "edge.admin.",
)
_FIRSTS = {target.stream: target for target in reversed(TARGETS) if target.stream}
PICKED = [*_FIRSTS.values(), *[target for target in TARGETS if not target.stream and target.subject.startswith(_OTHERS)]]
#: Of what is written once nothing more can be stored under its subject.
STORED = [target for target in PICKED if target.stream not in ("", "EDGE_COMMANDS", "EDGE_FILES")]


def test_each_stream_is_a_target() -> None:
    assert {target.stream for target in PICKED} - {""} == {stream.name for stream in streams.STREAMS if stream.subjects}


@pytest.mark.parametrize("target", PICKED, ids=str)
async def test_a_device_names_it_as_reply(world: World, target: Target) -> None:
    async with await world.hub.device(ATTACKER) as attacker:
        for subject, data in attacks.DEVICE_WAYS:
            attacker.publish(subject, data, reply=target.subject)
        await attacks.own_answer(attacker)
        await everything_is_answered(attacker)
        assert await world.growth() == attacks.DEVICE_STORES
        assert await world.fooled() == []


async def everything_is_answered(attacker: Rogue) -> None:
    """The servers answer the gets of each stream one after the other; so the forged ones are done when these are."""
    for subject, data in attacks.DEVICE_WAYS:
        if subject.startswith("edge.api."):
            assert await attacker.request(subject, data) is not None, attacker.errors


@pytest.mark.parametrize("target", STORED, ids=str)
async def test_the_same_attack_works_inside_hub(world: World, target: Target) -> None:
    attacker = await world.hub.connect(world.hub.keyring.service_credentials("hub"))
    await attacker.publish(f"$JS.API.DIRECT.GET.EDGE_REPORTS.edge.from.{ATTACKER}.report", reply=target.subject)

    async def succeeded() -> bool:
        return set(await world.growth()) == {target.stream}

    await until(succeeded, "the forged message is stored")
    await attacker.close()


@pytest.mark.parametrize("target", [attacks.LIVE[0], attacks.LIVE[2]], ids=str)
async def test_an_injected_live_message_is_only_a_doorbell(world: World, target: Target) -> None:
    await attacks.test_an_injected_live_message_is_only_a_doorbell(world, target)


@pytest.mark.parametrize("role", ["viewer", "operator"])
@pytest.mark.parametrize("target", PICKED, ids=str)
async def test_a_person_names_it_as_reply(world: World, hub: ClusterHub, target: Target, role: str) -> None:
    """One that sits at the attacker's server; whom it aims at are elsewhere."""
    ways = attacks.PERSON_WAYS if role == "viewer" else attacks.OPERATOR_WAYS
    mallory, number = await hub.person_here("mallory", role), KeyPair.generate("user").public
    for subject, data in ways:
        await mallory.publish(subject.format(number), data, reply=target.subject)
    await settle(mallory)
    for subject, data in attacks.PERSON_WAYS:
        await mallory.request(subject, data)
    await mallory.close()
    stores = role == "operator" and not target.subject.startswith("_R_.")
    assert await world.growth() == (attacks.OPERATOR_STORES if stores else {})
    assert [message for message in await world.heard_by_people() if not is_harmless(message)] == []


def is_harmless(message: Msg) -> bool:
    return "sentinel" in message.subject or attacks.betrays_itself(message)


# ---- publishing, subscribing, posing -------------------------------------------------------------------------------------------

PUBLISHED = [
    f"edge.from.{VICTIM}.report",
    f"edge.from.{VICTIM}.reply.olga.7",
    "edge.to.fleet.all.cmd.999999",
    f"edge.to.device.{VICTIM}.query",
    "$KV.edge_trust.signers",
    f"$KV.edge_devices.{ATTACKER}",
    direct_get("EDGE_REPORTS", f"edge.from.{VICTIM}.report"),
    direct_get("KV_edge_config", f"$KV.edge_config.device.{VICTIM}"),
    "edge.admin.olga.device_revoke",
    "$JS.API.STREAM.PURGE.EDGE_COMMANDS",
    "$JS.hub.API.CONSUMER.CREATE.EDGE_COMMANDS",
    "$SYS.REQ.SERVER.PING.LEAFZ",
    "$MQTT.sess.x",
]


@pytest.mark.parametrize("subject", PUBLISHED)
async def test_a_device_is_cut_off_for_publishing(world: World, subject: str) -> None:
    await attacks.test_a_device_is_cut_off_for_publishing(world, subject)


async def after(attacker: Rogue, world: World) -> None:
    """The barrier for one that poses as a hub: in a cluster answers do not reach it, so an honest link at the same server asks."""
    assert await attacker.settle()
    async with await world.hub.device(ATTACKER) as honest:
        await attacks.own_answer(honest)
        await everything_is_answered(honest)
    assert await attacker.settle()


@pytest.mark.parametrize("subject", [f"edge.from.{VICTIM}.report", direct_get("EDGE_REPORTS", f"edge.from.{VICTIM}.report")])
async def test_a_device_that_poses_as_a_hub_is_not_heard(world: World, subject: str) -> None:
    inbox = f"edge.to.device.{ATTACKER}.in.x"
    async with await world.hub.device(ATTACKER, is_hub=True) as attacker:
        attacker.subscribe(inbox)
        attacker.publish(subject, b"FORGED", reply=inbox)
        await after(attacker, world)
        assert [message for message in attacker.messages if message.subject == inbox] == []
        assert await world.growth() == {"EDGE_REPORTS": (0, 1)} and await world.fooled() == []


async def test_a_device_that_poses_as_a_hub_stores_nothing_under_anothers_id(world: World) -> None:
    await world.victim.request(f"edge.from.{VICTIM}.report", b"TRUE")
    async with await world.hub.device(ATTACKER, is_hub=True) as attacker:
        for subject in attacks.OVERREACHING_WRITES:
            attacker.publish(subject, b"FORGED")
        await after(attacker, world)
    await world.growth()
    forged = {message.subject.split(".")[2] for message in world.heard if message.data == b"FORGED"}
    assert {name for name in forged if is_id(name)} <= {ATTACKER}
    kept = await world.viewer.request(direct_get("EDGE_REPORTS", f"edge.from.{VICTIM}.report"))
    assert (kept.headers["Nats-Subject"], kept.data) == (f"edge.from.{VICTIM}.report", b"TRUE")


async def test_a_device_that_poses_as_a_hub_hears_its_own_only(world: World) -> None:
    async with await world.hub.device(ATTACKER, is_hub=True) as attacker:
        for subject in (">", "edge.>", f"edge.to.device.{VICTIM}.>", "edge.to.*.*.query", "edge.live.>", "_INBOX.>"):
            attacker.subscribe(subject)
        assert await attacker.settle()
        for scope in (f"device.{VICTIM}", "group.paris", "fleet.all"):
            await world.operator.publish(f"edge.to.{scope}.query", b"?", reply="_INBOX.ops.olga.q")
            await world.operator.request(f"$KV.edge_config.{scope}", b"document")
        assert await world.victim.next_on("edge.to.fleet.all.config")
        await after(attacker, world)
        heard = {message.subject for message in attacker.messages if not message.subject.startswith("$LDS.")}
        assert {".".join(subject.split(".")[2:4]) for subject in heard} <= {f"device.{ATTACKER}", "fleet.all"}


@pytest.mark.parametrize("subject", [f"edge.to.device.{VICTIM}.query", f"edge.from.{VICTIM}.report", "_INBOX.ops.olga.1"])
async def test_a_device_is_cut_off_for_subscribing(world: World, subject: str) -> None:
    await attacks.test_a_device_is_cut_off_for_subscribing(world, subject, "")


async def test_a_device_with_wildcards_hears_its_own_only(world: World) -> None:
    await attacks.test_a_device_with_wildcards_hears_its_own_only(world, False)


@pytest.mark.parametrize("subject", ["$JS.ACK.EDGE_COMMANDS.x.1.1.1.1.0", "_R_.aaaaaa.bbbbbb"])
async def test_what_the_server_lets_every_leaf_publish_goes_nowhere(world: World, subject: str) -> None:
    await attacks.test_what_the_server_lets_every_leaf_publish_goes_nowhere(world, subject)


@pytest.mark.parametrize("subject", [f"edge.from.{VICTIM}.report", f"edge.live.{VICTIM}.report", "$KV.edge_config.fleet.all"])
async def test_a_device_has_a_message_traced_to(world: World, subject: str) -> None:
    await attacks.test_a_device_has_a_message_traced_to(world, subject)


async def test_a_viewer_may_not_publish(world: World) -> None:
    for subject in ("$KV.edge_config.fleet.all", f"edge.from.{VICTIM}.reply.olga.1", "edge.admin.eve.token_create"):
        await attacks.refused_publish(world, world.viewer, subject)


# ---- keeping out, and names ----------------------------------------------------------------------------------------------------


async def test_a_revoked_device_is_out_on_every_server(cluster: Cluster) -> None:
    """The account is pushed to one server; the device is on another, and tries the rest."""
    login = cluster.keyring.device_credentials("pi-7")
    system = await ClusterHub.beside(cluster, 0).connect(cluster.keyring.service_credentials("sys"))
    leaf = await Rogue.connect(cluster.leaf_ports[1], login)
    assert await leaf.settle()
    token = cluster.keyring.account_jwts(revocations={"FLEET": {login.public_key: login.issued_at}})["FLEET"][1]
    await system.request("$SYS.REQ.CLAIMS.UPDATE", token.encode(), timeout=PATIENCE_SECONDS)
    await asyncio.wait_for(leaf.closed.wait(), PATIENCE_SECONDS)
    for port in cluster.leaf_ports:

        async def out(port: int = port) -> bool:
            async with await Rogue.connect(port, Credentials(login.jwt, login.seed)) as again:
                return not await again.settle()

        await until(out, "this server knows it too")
    await system.close()


async def test_a_query_is_answered_from_another_server(world: World) -> None:
    """What would make the rest worthless: a cluster in which nothing arrives."""
    mine = await world.operator.subscribe("edge.from.*.reply.olga.*")
    await world.operator.publish("edge.to.fleet.all.query", b"{}", reply="_INBOX.ops.olga.q")
    await settle(world.operator)
    async with await world.hub.device(ATTACKER) as device:
        device.subscribe("edge.to.fleet.all.query")
        assert await device.settle()
        assert await world.victim.next_on("edge.to.fleet.all.query")
        world.victim.publish(f"edge.from.{VICTIM}.reply.olga.t1", b"answer")
        answer = await mine.next_msg(timeout=PATIENCE_SECONDS)
        assert (answer.subject, answer.data) == (f"edge.from.{VICTIM}.reply.olga.t1", b"answer")
