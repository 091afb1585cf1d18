"""The leaf's own MQTT: who reaches what with which login, and what becomes of NATS when it is switched on."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
import pytest_asyncio

from edgeagent import mcus
from edgeagent.errors import Refused, Unreachable
from edgeagent.leaf import apps
from edgeagent.leaf.apps import App
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.leaf.mqttconf import app_user
from edgeagent.mcus import Mcu
from edgeagent.mqttsettings import MqttSettings
from edgeagent.natsserver import binary, ports
from tests.support.mqtting import Login, as_agent, as_mcu, give, listening, peer, port_of
from tests.support.servers import until

DOORS = App(name="doors", password="secret-d", mqtt_password="secret-m")


@pytest_asyncio.fixture
async def leaf(tmp_path: Path) -> AsyncIterator[Leaf]:
    """With the microcontrollers m1 and m2, and the program doors."""
    made = Leaf(options(tmp_path))
    (tmp_path / "state").mkdir(mode=0o700)
    mcus.save(made.options.mcus_file, {each: Mcu(id=each, password=f"pw-{each}") for each in ("m1", "m2")})
    apps.save(made.options.apps_file, {DOORS.name: DOORS})
    await made.start()
    yield made
    await made.stop()


def options(folder: Path, **mqtt: object) -> LeafOptions:
    wanted = MqttSettings(port=ports.pick(), **mqtt)  # type: ignore[arg-type]  # passed on as they are
    return LeafOptions(device_id="pi-01", server_name="pi-01-x", folder=folder / "state", port=ports.pick(), mqtt=wanted)


def as_doors(leaf: Leaf) -> Login:
    return Login(port_of(leaf), app_user("doors"), DOORS.mqtt_password)


# ---- a microcontroller's login ----


async def test_it_speaks_below_its_own_topic_and_is_spoken_to_there(leaf: Leaf) -> None:
    async with peer(as_agent(leaf), "agent") as agent, peer(as_mcu(leaf, "m1"), "m1") as m1:
        assert await agent.subscribed("mcu/#") and await m1.subscribed("mcu/m1/#")
        await m1.sent("mcu/m1/metric/light", "4")
        await agent.sent("mcu/m1/in", "{}")
        await until(lambda: {"mcu/m1/metric/light", "mcu/m1/in"} <= {*agent.topics}, "the agent hears it")
        await until(lambda: "mcu/m1/in" in m1.topics, "it hears the agent")


@pytest.mark.parametrize(
    "topic",
    [
        "mcu",
        "mcu/m2/in",
        "mcu/m2/state",
        "mcu.m2.in",
        "/mcu/m1/metric",
        "local/metric/m1",
        "local/metric/agent",
        "local/config/doors",
        "$MQTT/msgs/mcu/m2/in",
        "$MQTT/rmsgs/mcu/m2/in",
        "$MQTT/sess/x",
        "$JS/API/STREAM/DELETE/$MQTT_msgs",
        "$SYS/REQ/SERVER/PING",
        "edge/from/pi-01/report",
    ],
)
async def test_what_it_says_elsewhere_is_acknowledged_and_nobody_hears_it(leaf: Leaf, topic: str) -> None:
    async with (
        peer(as_agent(leaf), "agent") as agent,
        peer(as_mcu(leaf, "m1"), "m1") as m1,
        peer(as_mcu(leaf, "m2"), "m2") as m2,
    ):
        for each, of_its_own in ((agent, "mcu/#"), (agent, "local/#"), (m2, "mcu/m2/#")):
            assert await each.subscribed(of_its_own)
        await m1.sent(topic, "forged")
        await m1.sent(topic, "forged and kept", retain=True)
        await m1.sent("mcu/m1/metric", "after that")
        await until(lambda: "mcu/m1/metric" in agent.topics, "what came after it is heard")
        assert agent.topics == ["mcu/m1/metric"] and m2.heard == [] and m1.ends == []
        async with peer(as_mcu(leaf, "m2"), "later") as later:
            assert await later.subscribed("mcu/m2/#")
            await later.sent("mcu/m2/own", "")
            await until(lambda: later.heard, "its own")
            assert later.topics == ["mcu/m2/own"], "nor is it kept"


@pytest.mark.parametrize(
    "topic",
    ["#", "+/#", "+", "mcu/#", "mcu/+/in", "mcu/m2/in", "mcu/m2/#", "/#", "/mcu/m1/#", "local/#", "$SYS/#", "$JS/#", "$MQTT/#"],
)
async def test_it_hears_nothing_elsewhere(leaf: Leaf, topic: str) -> None:
    async with peer(as_mcu(leaf, "m1"), "m1") as m1:
        assert not await m1.subscribed(topic)
        assert m1.ends == [] and await m1.subscribed("mcu/m1/in"), "and it goes on"


async def test_with_anothers_client_id_it_ends_the_others_connection_and_learns_nothing(leaf: Leaf) -> None:
    async with peer(as_agent(leaf), "agent") as agent, peer(as_mcu(leaf, "m2"), "m2", clean=False) as m2:
        assert await m2.subscribed("mcu/m2/in")
        async with peer(as_mcu(leaf, "m1"), "m2", clean=False) as thief:
            await until(lambda: m2.ends, "the other's connection ended")
            m2.close()
            await agent.sent("mcu/m2/in", "secret")
            await agent.sent("mcu/m1/in", "its own")
            assert await thief.subscribed("mcu/m1/in")
            await agent.sent("mcu/m1/in", "its own again")
            await until(lambda: thief.heard, "it hears its own")
            assert {*thief.topics} == {"mcu/m1/in"}


@pytest.mark.parametrize("user", [None, "m1", "agent", "agent-local", "app", "sys", "doors", "nobody"])
async def test_nobody_comes_in_with_no_login_a_wrong_one_or_one_of_nats(leaf: Leaf, user: str | None) -> None:
    right = {"agent": leaf.agent_password, "agent-local": leaf.agent_password, "sys": leaf.sys_password, "doors": DOORS.password}
    async with peer(Login(port_of(leaf), user, right.get(user or "", "wrong")), "x") as refused:
        assert refused.refused == "Not authorized"


@pytest.mark.parametrize(("user", "password"), [("m1", "pw-m1"), ("doors.mqtt", DOORS.mqtt_password)])
async def test_a_login_for_mqtt_is_none_for_nats(leaf: Leaf, user: str, password: str) -> None:
    with pytest.raises(nats.errors.Error, match="Authorization"):
        await nats.connect(leaf.url, user=user, password=password, allow_reconnect=False)


async def test_nothing_crosses_to_the_programs_on_nats_or_to_the_streams(leaf: Leaf) -> None:
    async with peer(as_agent(leaf), "agent") as agent, peer(as_doors(leaf), "doors") as doors:
        client = await nats.connect(leaf.url)
        system = await nats.connect(leaf.url, user=leaf.agent_login[0], password=leaf.agent_login[1])
        heard: list[str] = []

        async def hear(message: Any) -> None:
            heard.append(message.subject)

        try:
            for each, subject in ((client, "local.>"), (system, "local.>"), (system, "mcu.>")):
                await each.subscribe(subject, cb=hear)
                await each.flush()
            assert await agent.subscribed("local/#") and await agent.subscribed("mcu/#")
            await doors.sent("local/metric/doors", "1")
            await agent.sent("mcu/m1/in", "1")
            await until(lambda: len(agent.heard) == 2, "the agent hears it")
            await client.publish("local.data.x", b"")  # what is heard after it was on the way after it
            await until(lambda: len(heard) == 2, "each account hears that")
            assert {*heard} == {"local.data.x"} and {*agent.topics} == {"local/metric/doors", "mcu/m1/in"}
        finally:
            await client.close()
            await system.close()


# ---- a program's login ----


async def test_a_program_speaks_as_itself(leaf: Leaf) -> None:
    async with peer(as_agent(leaf), "agent") as agent, peer(as_doors(leaf), "doors") as doors:
        assert await agent.subscribed("local/#")
        for topic in ("local/config/doors", "local/config/doors/#", "local/action/doors/+", "local/action/doors/#"):
            assert await doors.subscribed(topic), topic
        own = ["local/metric/doors", "local/metric/doors/north", "local/data/doors/log", "local/action/doors/open/reply"]
        for topic in (
            *own,
            "local/metric/windows",
            "local/metric/agent",
            "local/config/doors",
            "local/action/doors/open",
            "mcu/m1/in",
        ):
            await doors.sent(topic, "1")
        await agent.sent("local/action/doors/open", "{}")
        await until(lambda: "local/action/doors/open" in agent.topics, "all of it was said")
        assert agent.topics == [*own, "local/action/doors/open"]
        for topic in ("local/metric/doors", "local/#", "local/config/windows", "mcu/m1/#", "#"):
            assert not await doors.subscribed(topic), topic


# ---- switched on, changed, switched off ----


async def test_the_first_login_switches_it_on_and_programs_on_nats_come_back(tmp_path: Path) -> None:
    leaf = Leaf(options(tmp_path))
    await leaf.start()
    client = await nats.connect(leaf.url, reconnect_time_wait=0.05, max_reconnect_attempts=-1)
    try:
        assert leaf.mqtt.status() is None and "mqtt {" not in leaf.options.config_file.read_text()
        before, asked = leaf.pid, []

        async def before_restart() -> None:
            asked.append(leaf.pid)

        mcus.save(leaf.options.mcus_file, {"m1": Mcu(id="m1", password="pw-m1")})
        await leaf.apply(before_restart=before_restart)
        assert asked == [before] and leaf.pid != before and leaf.mqtt.status()
        heard = await client.subscribe("local.data.x")
        await until(lambda: client.is_connected and client.stats["reconnects"], "the program is back")
        await client.publish("local.data.x", b"1")
        assert (await heard.next_msg(timeout=30)).data == b"1"
        async with peer(as_mcu(leaf, "m1"), "m1") as m1:
            assert m1.refused == ""
    finally:
        await client.close()
        await leaf.stop()


async def test_further_logins_come_and_go_and_disturb_nobody(leaf: Leaf) -> None:
    pid = leaf.pid
    client = await nats.connect(leaf.url, allow_reconnect=False)
    try:
        async with peer(as_mcu(leaf, "m1"), "m1") as m1, peer(as_mcu(leaf, "m2"), "m2") as m2:
            await give(leaf, "m1", "m2", "m3")
            async with peer(as_mcu(leaf, "m3"), "m3") as m3:
                assert m3.refused == ""
            await give(leaf, "m1", "m3")
            await until(lambda: m2.refused == "Not authorized", "the one that was taken away is out, and stays out")
            assert m1.ends == [] and client.is_connected and leaf.pid == pid
    finally:
        await client.close()


async def test_without_a_login_it_is_closed_to_all_at_once_and_off_at_the_next_start(leaf: Leaf) -> None:
    pid, port = leaf.pid, port_of(leaf)
    apps.save(leaf.options.apps_file, {})
    async with peer(as_mcu(leaf, "m1"), "m1") as m1:
        await give(leaf)
        await until(lambda: m1.refused == "Not authorized", "it is out")
    assert leaf.pid == pid and leaf.mqtt.status()
    await leaf.restart()
    assert leaf.mqtt.status() is None and ports.is_free(port)


async def test_a_taken_port_on_loopback_is_replaced_and_remembered(tmp_path: Path) -> None:
    wanted = options(tmp_path)
    leaf = Leaf(wanted)
    with listening(wanted.mqtt.port):
        await leaf.start()
        try:
            await give(leaf, "m1")
            now = leaf.mqtt.status()
            assert now and now.port != now.wished_port == wanted.mqtt.port
        finally:
            await leaf.stop()
    again = Leaf(wanted)
    await again.start()
    try:
        assert port_of(again) == now.port, "also when the wished one is free: microcontrollers know the other"
    finally:
        await again.stop()


async def test_a_taken_port_on_the_network_keeps_only_mqtt_out_until_it_is_free(tmp_path: Path) -> None:
    wanted = options(tmp_path, listen="127.0.0.1")
    object.__setattr__(wanted, "mqtt", MqttSettings(listen="0.0.0.0", tls="self", port=wanted.mqtt.port))
    leaf = Leaf(wanted)
    with listening(wanted.mqtt.port):
        (tmp_path / "state").mkdir(mode=0o700)
        mcus.save(wanted.mcus_file, {"m1": Mcu(id="m1", password="pw-m1")})
        await leaf.start()
    try:
        assert leaf.mqtt.status() is None and leaf.mqtt.problem
        assert "another program uses port" in leaf.mqtt.problem.what and "mqtt.port" in leaf.mqtt.problem.remedy
        client = await nats.connect(leaf.url)
        await client.close()
        await leaf.apply()  # as is tried every minute
        assert leaf.mqtt.problem is None and leaf.mqtt.status()
    finally:
        await leaf.stop()


async def test_an_address_that_this_device_has_not_keeps_only_mqtt_out(tmp_path: Path) -> None:
    leaf = Leaf(options(tmp_path, listen="192.0.2.77", tls="self"))
    await leaf.start()
    try:
        await give(leaf, "m1")
        assert leaf.mqtt.problem and "does not have the address 192.0.2.77" in leaf.mqtt.problem.what
    finally:
        await leaf.stop()


async def test_an_external_leaf_says_what_to_type_and_takes_clients_from_then_on(tmp_path: Path) -> None:
    chosen = replace(options(tmp_path), mode="external")
    leaf = Leaf(chosen)
    with pytest.raises(Unreachable):
        await leaf.start(timeout=0.1)
    unit = begin(chosen)
    try:
        await leaf.ready()
        with pytest.raises(Refused, match="sudo systemctl restart edgeagent-leaf"):
            await give(leaf, "m1")
        assert leaf.mqtt.status() is None and leaf.mqtt.problem
        unit.terminate()
        unit.wait()
        unit = begin(chosen)
        await leaf.ready()
        await leaf.apply()  # as is tried every minute
        assert leaf.mqtt.problem is None and leaf.mqtt.status()
        async with peer(as_mcu(leaf, "m1"), "m1") as m1:
            assert m1.refused == ""
            await give(leaf, "m1", "m2")
            async with peer(as_mcu(leaf, "m2"), "m2") as m2:
                await until(lambda: m2.refused == "", "the second one comes in without a restart")
            assert m1.ends == []
    finally:
        unit.kill()
        unit.wait()


def begin(chosen: LeafOptions) -> subprocess.Popen[bytes]:
    """As systemd does."""
    return subprocess.Popen([binary.find().path, "-c", chosen.config_file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
