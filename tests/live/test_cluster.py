"""A hub of three servers, as `hub init --cluster 3 --tls-self` makes it: any one of them may die, and nobody else becomes one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edgeagent import context, servers
from edgeagent.assembly.hubcurrent import has_all
from edgeagent.assembly.hublogin import sign_in
from edgeagent.direct import read_all
from edgeagent.hub import balance, clusterconf, leafs, streams
from edgeagent.hub.address import addresses
from edgeagent.hub.balancer import Balancer
from edgeagent.hub.clusterconf import ClusterConf
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.serverping import ask_all
from edgeagent.hub.tlsfolder import TlsFolder
from edgeagent.link import Client
from edgeagent.natsserver import ports
from edgeagent.publish import published
from edgeagent.settings import load
from edgeagent.trust import certificates
from edgeagent.trust.validity import START
from tests.support.cluster import SIZE, ClusterHub, new_cluster, stream
from tests.support.enrolling import NewDevice
from tests.support.fleet import PATIENCE_SECONDS, Said, cli
from tests.support.servers import Server, kill, until

STRANGER = "stranger"
#: What is stored while a server is away: messages, and the bytes of each.
MISSED, MISSED_BYTES = 20, 100_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHub]:
    with new_cluster(tmp_path_factory.mktemp("cluster"), "--tls-self") as made:
        for number in range(SIZE):  # all at once, as after a power cut
            made.up(number)
        asyncio.run(made.all_up())
        yield made


@pytest_asyncio.fixture
async def hub(cluster: ClusterHub) -> AsyncIterator[Client]:
    client = await sign_in(cluster.places[0], Keyring.load(cluster.places[0].path), "hub")
    yield client
    await client.close()


@pytest_asyncio.fixture
async def system(cluster: ClusterHub) -> AsyncIterator[Client]:
    client = await sign_in(cluster.places[0], Keyring.load(cluster.places[0].path), "sys")
    yield client
    await client.close()


def status(cluster: ClusterHub, number: int = 0) -> Any:
    said = cli("hub", "status", "--json", "--dir", str(cluster.places[number].path))
    return json.loads(said.out) if said.code == 0 else {}


async def test_three_that_start_at_once_make_everything_once(cluster: ClusterHub, hub: Client) -> None:
    shown = await asyncio.to_thread(status, cluster, 1)
    assert [(server["id"], server["up"]) for server in shown["servers"]] == [(f"berlin-{number}", True) for number in (1, 2, 3)]
    assert [server["leads"] for server in shown["servers"]].count(True) == 1 and shown["server"]["name"] == "berlin-2"
    assert {each["leader"] for each in shown["streams"]} <= {server["id"] for server in shown["servers"]}
    for each in streams.STREAMS:
        assert (await stream(hub, each.name))["config"]["num_replicas"] == SIZE
    people = json.loads((await asyncio.to_thread(cli, "operator", "ls", "--json")).out)
    assert [person["name"] for person in people] == ["olga"]
    for number in range(SIZE):
        assert [line for line in cluster.log(number).splitlines() if " E " in line] == []
        assert [line for line in cluster.log(number).splitlines() if " W " in line and "/metrics" not in line] == []
    table = (await asyncio.to_thread(cli, "hub", "status", "--dir", str(cluster.places[2].path))).out
    assert "berlin-1" in table and "leads" in table


async def test_a_device_and_a_person_know_every_server(cluster: ClusterHub, tmp_path: Path) -> None:
    options, known = cluster.places[0].options(), cluster.places[0].cluster()
    made = await asyncio.to_thread(cli, "token", "create", "--device", "pi-9")
    assert f"--hub {servers.joined(known.devices)} " in made.err
    device = NewDevice(tmp_path)
    said = await device.enrol(known.devices[1], token=made.out.strip())
    assert said.code == 0, said
    (entry,) = device.enrolment.urls
    assert set(servers.split(entry)) == set(servers.split(addresses(options, known).devices))
    with device.running():
        await until(lambda: device.is_linked, "it is linked", PATIENCE_SECONDS)
    assert load(device.settings).hub.urls == [entry]
    assert context.load("berlin").url == addresses(options, known).operators


# ---- when one dies -------------------------------------------------------------------------------------------------------------


def said_of(*words: str) -> Said:
    said = cli(*words)
    assert said.code == 0, said
    return said


async def writes(stop: asyncio.Event) -> int:
    """Write configuration and commands, one after the other, by the command line; how many of each. None may fail."""
    count = 0
    while not stop.is_set():
        await asyncio.to_thread(said_of, "config", "set", "--fleet", f"app.test.count={count}")
        await asyncio.to_thread(said_of, "cmd", "run", "agent.restart", "-d", "pi-1", "--detach", "-y", "-m", str(count))
        await asyncio.to_thread(said_of, "fleet", "ls")
        count += 1
    return count


async def leader(hub: Client, name: str) -> str:
    """The server that leads a stream."""
    return str((await stream(hub, name))["cluster"].get("leader", ""))


async def led_by_one(hub: Client, names: Sequence[str]) -> int:
    """Have all of these streams led by one server; its number, from 0."""
    chosen = await leader(hub, names[0])
    for name in names[1:]:
        wish = json.dumps({"placement": {"preferred": chosen}}).encode()

        async def is_so(name: str = name, wish: bytes = wish) -> bool:
            if await leader(hub, name) == chosen:
                return True
            await hub.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{name}", wish, timeout=5)
            return False

        await until(is_so, f"{chosen} leads {name}", PATIENCE_SECONDS)
    return int(chosen.rpartition("-")[2]) - 1


async def test_nothing_fails_and_nothing_is_done_twice_while_the_leader_dies(
    cluster: ClusterHub, hub: Client, tmp_path: Path
) -> None:
    """And what is left of the servers says what it waits for until enough of them are there."""
    added = cli("device", "add", "pi-1", "--out", str(tmp_path / "pi-1.creds"), "--dir", str(cluster.places[0].path))
    assert added.code == 0, added
    number = await led_by_one(hub, ("KV_edge_config", "EDGE_COMMANDS"))
    second, third = ((number + more) % SIZE for more in (1, 2))
    stop = asyncio.Event()
    writing = asyncio.ensure_future(writes(stop))
    cluster.kill(number)
    shown = await asyncio.to_thread(status, cluster, second)
    assert [server["up"] for server in shown["servers"]].count(False) == 1
    stop.set()
    count = await writing
    assert count > 0

    stopped = await asyncio.gather(*(asyncio.to_thread(cluster.stop, one) for one in (second, third)))
    assert stopped == [0, 0]
    cluster.up(third)
    waits = "waits for one more server of the cluster: 1 of 3 are here"
    await until(lambda: waits in cluster.log(third), "it says so", PATIENCE_SECONDS)
    cluster.up(second)
    await until(lambda: cluster.is_up(second) and cluster.is_up(third), "two are enough", PATIENCE_SECONDS)
    await until(lambda: hub.is_connected, "as any client it finds them again", PATIENCE_SECONDS)
    away = str(cluster.places[number].path)
    seen = await asyncio.to_thread(cli, "hub", "status", "--dir", away)
    assert "The server of this folder does not run" in seen.out and "AWAY" in seen.out, seen
    found = await asyncio.to_thread(cli, "hub", "doctor", "--dir", away)
    assert found.code == 1 and f"the one of this folder, berlin-{number + 1}, does not let us in" in found.out, found
    for _ in range(MISSED):
        await published(hub, "edge.from.pi-1.data", bytes(MISSED_BYTES), timeout=PATIENCE_SECONDS)
    cluster.up(number)
    await cluster.all_up()
    infos = [await stream(hub, each.name) for each in streams.STREAMS]
    assert all(has_all(info, f"berlin-{number + 1}") for info in infos), "it is up once it has what it missed"

    there = [item async for item in read_all(hub, "KV_edge_config", "$KV.edge_config.fleet.all", prefix="$JS.API")]
    assert len(there) == count
    logged = [item async for item in read_all(hub, "EDGE_COMMANDS", "edge.to.device.pi-1.cmd.*", prefix="$JS.API")]
    assert len(logged) == len({item.data for item in logged}) == count


async def test_hub_up_goes_on_beside_another_server_while_its_own_is_away(cluster: ClusterHub, system: Client) -> None:
    kill(cluster.server_pid(1))
    said = await asyncio.to_thread(cli, "token", "ls")
    assert said.code == 0, said

    async def is_back() -> bool:
        return len(await ask_all(system, "VARZ", SIZE)) == SIZE

    await until(is_back, "back", PATIENCE_SECONDS)


# ---- devices go where there are fewer ----------------------------------------------------------------------------------------------


class Leaf(Server):
    """One device's leaf that begins with the first server, and goes to the next when that ends the link."""

    def start(self, cluster: ClusterHub, device: str) -> None:
        place = cluster.places[0]
        self.folder.mkdir()
        # One that the hub knows: the services end the link of another to look at its JWT.
        added = cli("device", "add", device, "--out", str(self.folder / "device.creds"), "--dir", str(place.path))
        assert added.code == 0, added
        urls = json.dumps(servers.split(addresses(place.options(), place.cluster()).devices))
        self.begin(f"""
            server_name: {device}-x
            {self.common()}
            leafnodes {{ reconnect: "200ms", remotes: [{{
              urls: {urls}, no_randomize: true, credentials: "{self.folder}/device.creds",
              tls {{ ca_file: "{TlsFolder(place).authorities}", handshake_first: true }}
            }}] }}
        """)


async def linked(system: Client, cluster: ClusterHub) -> list[int]:
    """How many devices each server has."""
    answers = await ask_all(system, "VARZ", SIZE)
    return [answers.get(f"berlin-{number}", {}).get("data", {}).get("leafnodes", 0) for number in range(1, SIZE + 1)]


async def test_a_server_with_too_many_devices_sends_some_to_the_others(
    cluster: ClusterHub, system: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balance, "HOLD_SECONDS", 0.0)
    fleet = Keyring.load(cluster.places[0].path).account_public("FLEET")
    first, second = (Balancer(system, fleet, f"berlin-{number}", SIZE) for number in (1, 2))
    with contextlib.ExitStack() as stack:
        for number in range(5):
            leaf = Leaf(tmp_path / str(number))
            leaf.start(cluster, f"leaf-{number}")
            stack.callback(leaf.kill)

        async def has(count: int) -> bool:
            there = await linked(system, cluster)
            return there[0] == count and sum(there) == 5

        await until(lambda: has(5), "all are at the first server")
        for left in (4, 3):
            assert await second.round() == 0
            await until(first.round, "it sends one away")
            await until(lambda left=left: has(left), "and that one links to another server")  # type: ignore[misc]  # bound
        assert await first.round() == 0, "one more than its share is no reason to end a link"
        assert len({leaf.connection for leaf in await leafs.listed(system, fleet)}) == 5


# ---- who may be one of them ------------------------------------------------------------------------------------------------------


class Stranger(Server):
    """A nats-server of somebody else's that wants to be one of the hub's."""

    def join(self, cluster: ClusterHub, secret: str, files_: tuple[Path, Path, Path] | None) -> None:
        place = cluster.places[0]
        known = place.cluster()
        conf = ClusterConf(
            hub="berlin",
            listen="127.0.0.1",
            cluster=type(known)(number=1, port=ports.pick(), routes=["127.0.0.1:1", *known.routes]),
            secret=secret,
            certificate=files_[0] if files_ else None,
            key=files_[1] if files_ else None,
            authorities=files_[2] if files_ else None,
        )
        self.begin(f"server_name: {STRANGER}\n{self.common()}\n{clusterconf.render(conf)}")


def _forged(folder: Path) -> tuple[Path, Path, Path]:
    """A certificate for the right names, by an authority of the stranger's own."""
    ends = START.replace(year=2060)
    authority = certificates.make_authority("edgeagent berlin CA 1", ends)
    made = certificates.make_server(authority, ["127.0.0.1", "localhost"], ends)
    paths = (folder / "c.pem", folder / "k.pem", folder / "a.pem")
    for path, data in zip(paths, (made.certificate, made.key, authority.certificate), strict=True):
        path.write_bytes(data)
    return paths


@pytest.mark.parametrize("has", ["no certificate", "a forged certificate", "a certificate but no secret", "all of it"])
async def test_a_strangers_server_becomes_none_of_them(cluster: ClusterHub, system: Client, tmp_path: Path, has: str) -> None:
    """With all of it it would: that the attempt is one."""
    own, keyring = TlsFolder(cluster.places[1]), Keyring.load(cluster.places[1].path)
    stolen = (own.certificate, own.key, own.authorities)
    secret = "guess" if has == "a certificate but no secret" else keyring.route_secret()
    stranger = Stranger(tmp_path / "stranger")
    stranger.join(cluster, secret, {"no certificate": None, "a forged certificate": _forged(tmp_path)}.get(has, stolen))
    try:
        await stranger.ready()

        async def members() -> set[str]:
            answers = await ask_all(system, "ROUTEZ", SIZE)
            return {route.get("remote_name", "") for each in answers.values() for route in each["data"].get("routes") or []}

        if has == "all of it":
            await until(lambda: joined(members), "it is one of them")
        else:
            words = {"a certificate but no secret": "authentication error"}.get(has, "TLS")
            logs = [cluster.places[number].log for number in range(SIZE)]
            await until(
                lambda: any(words.lower() in log.read_text().lower() for log in [*logs, stranger.log_file]), "it was refused"
            )
            assert STRANGER not in await members()
    finally:
        stranger.kill()


async def joined(members: Any) -> bool:
    return STRANGER in await members()
