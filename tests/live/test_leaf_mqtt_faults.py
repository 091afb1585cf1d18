"""The leaf's own MQTT when something goes wrong: floods, broken clients, a killed server. The others and the device's own streams go on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent import localsubjects, mcus
from edgeagent.assembly.mqttcare import MqttCare, full
from edgeagent.leaf import mqttconf, mqttstreams
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.link import Client, connect, request
from edgeagent.mcus import Mcu
from edgeagent.mqttsettings import MqttSettings
from edgeagent.natsserver import ports
from edgeagent.natsserver.supervisor import State, Timing
from edgeagent.patterns.localstore import ensure
from tests.support.mqtting import Peer, as_agent, as_mcu, peer, stuck
from tests.support.servers import kill, until

STORE = 16 << 20
#: Of which the retained messages have a quarter.
MQTT_STORE = 4 << 20


@pytest_asyncio.fixture
async def bare(tmp_path: Path) -> AsyncIterator[Leaf]:
    """With streams that nobody has bounded yet."""
    options = LeafOptions(
        device_id="pi-01",
        server_name="pi-01-x",
        folder=tmp_path / "state",
        port=ports.pick(),
        mqtt=MqttSettings(port=ports.pick(), store_max_bytes=MQTT_STORE),
        store_max_bytes=STORE,
        timing=Timing(first_seconds=0.1),
    )
    options.folder.mkdir(mode=0o700)
    mcus.save(options.mcus_file, {each: Mcu(id=each, password=f"pw-{each}") for each in ("m1", "m2")})
    made = Leaf(options)
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def leaf(bare: Leaf) -> Leaf:
    await MqttCare(bare, lambda problems: None).look()
    return bare


async def store(leaf: Leaf) -> Client:
    client = await connect(leaf.url, what="be the agent", name="agent", inbox_prefix="_INBOX.t", password=leaf.agent_login)
    await ensure(client, STORE)
    return client


async def stored(client: Client) -> None:
    """The device's own streams take samples."""
    answer = await request(client, localsubjects.local_metric("x"), b"1", what="store a sample")
    assert b'"seq"' in answer.data


async def uses(leaf: Leaf) -> dict[str, mqttstreams.Use]:
    client = await connect(leaf.url, what="look", name="look", inbox_prefix=mqttconf.INBOX, password=leaf.mqtt_login)
    found = await mqttstreams.bounded(client, "pi-01", MQTT_STORE)
    await client.close()
    return {use.stream: use for use in found}


async def exchange(leaf: Leaf, agent: Peer, other: Peer) -> None:
    """The agent and another microcontroller go on, also one that is new."""
    agent.heard.clear()
    await other.sent("mcu/m2/metric", "1")
    await until(lambda: "mcu/m2/metric" in agent.topics, "the other is heard")
    async with peer(as_mcu(leaf, "m2"), "new", clean=False) as new:
        assert await new.subscribed("mcu/m2/in")
        await agent.sent("mcu/m2/in", "{}")
        await until(lambda: new.heard, "a new one hears")


async def test_streams_that_nats_server_made_first_are_bounded_too(bare: Leaf) -> None:
    async with peer(as_agent(bare), "agent") as agent, peer(as_mcu(bare, "m1"), "m1") as m1:
        assert await agent.subscribed("mcu/#")
        await MqttCare(bare, lambda problems: None).look()
        client = await connect(bare.url, what="look", name="x", inbox_prefix=mqttconf.INBOX, password=bare.mqtt_login)
        for name, (share, _) in mqttstreams.STREAMS.items():
            answer = await request(client, f"$JS.API.STREAM.INFO.{name}", b"", what="look")
            assert json.loads(answer.data)["config"]["max_bytes"] == int(share * MQTT_STORE)
        await client.close()
        await m1.sent("mcu/m1/metric", "1")
        await until(lambda: agent.heard, "and they are used")


async def test_a_flood_of_retained_messages_is_bounded_seen_and_harms_nobody(leaf: Leaf) -> None:
    client = await store(leaf)
    care = MqttCare(leaf, lambda problems: None)
    async with (
        peer(as_agent(leaf), "agent") as agent,
        peer(as_mcu(leaf, "m1"), "m1") as m1,
        peer(as_mcu(leaf, "m2"), "m2") as m2,
    ):
        await m2.sent("mcu/m2/state", "online", retain=True)
        numbers = [m1.send(f"mcu/m1/flood/{number}", b"x" * 400, retain=True) for number in range(10_000)]
        await m1.acknowledged(*numbers)
        found = await uses(leaf)
        assert MQTT_STORE // 8 < found["$MQTT_rmsgs"].used <= MQTT_STORE // 4
        await care.look()
        assert ["retained MQTT messages" in problem.what for problem in care.problems] == [True]
        assert agent.heard == [] and await agent.subscribed("mcu/m2/#")
        await m2.sent("mcu/m2/state", "offline", retain=True)
        await until(lambda: agent.heard[-1:] and agent.heard[-1].payload == b"offline", "what was kept before changes")
        async with peer(as_mcu(leaf, "m2"), "late") as late:
            assert await late.subscribed("mcu/m2/state")
            await until(lambda: late.heard, "and is kept")
            assert late.heard[0].payload == b"offline" and late.heard[0].retained
        await exchange(leaf, agent, m2)
        await stored(client)
    await client.close()


async def test_what_waits_for_one_that_is_away_is_bounded_and_the_newest_of_it_arrives(leaf: Leaf) -> None:
    client = await store(leaf)
    async with peer(as_mcu(leaf, "m1"), "away", clean=False) as away:
        assert await away.subscribed("mcu/m1/in")
    async with peer(as_agent(leaf), "agent") as agent, peer(as_mcu(leaf, "m2"), "m2") as m2:
        numbers = [agent.send("mcu/m1/in", b"%06d" % number + b"x" * 4000) for number in range(1000)]
        await agent.acknowledged(*numbers)
        found = await uses(leaf)
        assert MQTT_STORE // 4 < found["$MQTT_msgs"].used <= MQTT_STORE // 2
        assert ["for clients that are away" in problem.what for problem in full([*found.values()])] == [True]
        assert await agent.subscribed("mcu/#")
        await exchange(leaf, agent, m2)
        await stored(client)
        async with peer(as_mcu(leaf, "m1"), "away", clean=False) as back:
            assert back.session_present
            await until(lambda: back.heard[-1:] and back.heard[-1].payload.startswith(b"000999"), "the newest")
            first = int(back.heard[0].payload[:6])
            assert [int(each.payload[:6]) for each in back.heard] == [*range(first, 1000)], "without a gap"
            assert first > 0
    await client.close()


async def test_many_sessions_that_nobody_comes_back_to_are_bounded_and_those_before_go_on(leaf: Leaf) -> None:
    async with peer(as_agent(leaf), "agent", clean=False) as agent, peer(as_mcu(leaf, "m2"), "m2", clean=False) as m2:
        assert await agent.subscribed("mcu/#") and await m2.subscribed("mcu/m2/in")
        let_in = [await came_in(leaf, f"{number}-{'x' * 30_000}") for number in range(30)]
        assert let_in[0] and not let_in[-1], "until it is full"
        assert (await uses(leaf))["$MQTT_sess"].used <= MQTT_STORE // 8
        await m2.sent("mcu/m2/metric", "1")
        await until(lambda: "mcu/m2/metric" in agent.topics, "who is there goes on")
        assert m2.ends == agent.ends == []
        m2.close()
        async with peer(as_mcu(leaf, "m2"), "m2", clean=False) as back:
            assert back.session_present, "and may come back"


async def came_in(leaf: Leaf, client_id: str) -> bool:
    """Whether a client that leaves its session behind is let in; nats-server says nothing to one that is not."""
    made = Peer(as_mcu(leaf, "m1"), client_id, clean=False)
    await until(lambda: made.refused is not None or bool(made.ends), "it is let in, or cut off")
    made.close()
    return made.refused == ""


@pytest.mark.parametrize(
    ("topic", "size"), [("mcu/m1/a b", 1), ("mcu/m1/large", (1 << 20) + 1)], ids=["a space in the topic", "too large"]
)
async def test_what_nats_server_does_not_take_ends_that_connection_only(leaf: Leaf, topic: str, size: int) -> None:
    client = await store(leaf)
    async with (
        peer(as_agent(leaf), "agent") as agent,
        peer(as_mcu(leaf, "m1"), "m1") as m1,
        peer(as_mcu(leaf, "m2"), "m2") as m2,
    ):
        assert await agent.subscribed("mcu/#")
        m1.send(topic, b"x" * size)
        await until(lambda: len(m1.ends) >= 2, "it is cut off, and again when it sends the same again")
        await exchange(leaf, agent, m2)
        assert agent.ends == m2.ends == [] and topic not in agent.topics
        await stored(client)
    await client.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that nobody acknowledges is sent again sooner."""
    monkeypatch.setattr(mqttconf, "ACK_WAIT_SECONDS", 2)


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_stands_still_holds_up_nobody_and_gets_what_it_missed(leaf: Leaf) -> None:
    client = await store(leaf)
    async with peer(as_agent(leaf), "agent") as agent, peer(as_mcu(leaf, "m2"), "m2") as m2:
        assert await agent.subscribed("mcu/m2/#")
        async with stuck(as_mcu(leaf, "m1"), "mcu/m1/in") as process:
            numbers = [agent.send("mcu/m1/in", f"{number:06d}" + "x" * 500) for number in range(3000)]
            await agent.acknowledged(*numbers)
            await exchange(leaf, agent, m2)
            await stored(client)
            process.kill()
        async with peer(as_mcu(leaf, "m1"), "stuck", clean=False) as back:
            await until(lambda: back.heard[-1:] and back.heard[-1].payload.startswith(b"002999"), "it has the newest")
    await client.close()


async def test_a_killed_leaf_keeps_what_was_acknowledged(leaf: Leaf) -> None:
    async with peer(as_agent(leaf), "agent", clean=False) as agent, peer(as_mcu(leaf, "m1"), "m1", clean=False) as m1:
        assert await agent.subscribed("mcu/#")
        await m1.sent("mcu/m1/state", "online", retain=True)
        agent.close()
        numbers = [m1.send("mcu/m1/metric", str(number)) for number in range(100)]
        await m1.acknowledged(*numbers)
        pid = leaf.pid
        assert pid
        kill(pid)
        during = m1.send("mcu/m1/metric", "during")
        await until(lambda: leaf.state is State.RUNNING and leaf.pid not in (None, pid), "the leaf was started again")
        await m1.acknowledged(during)
        async with peer(as_agent(leaf), "agent", clean=False) as back:
            assert back.session_present
            wanted = [*map(str, range(100)), "during"]

            def told() -> list[str]:
                return [each.payload.decode() for each in back.heard if each.topic == "mcu/m1/metric"]

            await until(lambda: {*told()} >= {*wanted}, "all of it arrives")
            assert list(dict.fromkeys(told())) == wanted, "in order; QoS 1 may say one twice"
            assert await back.subscribed("mcu/m1/state")
            await until(lambda: any(each.retained and each.payload == b"online" for each in back.heard), "what was retained")


async def test_one_that_is_gone_without_a_word_leaves_its_will(leaf: Leaf) -> None:
    async with peer(as_agent(leaf), "agent") as agent:
        assert await agent.subscribed("mcu/+/state")
        async with peer(as_mcu(leaf, "m1"), "m1", will=("mcu/m1/state", "offline")) as m1:
            await m1.sent("mcu/m1/state", "online", retain=True)
            m1.drop()
            await until(lambda: [each.payload for each in agent.heard] == [b"online", b"offline"], "the will")
