"""``edgeagent mcu add|rm`` and ``edgeagent app add --mqtt`` beside an agent that runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import nats.errors
import pytest

from edgeagent import localsubjects
from edgeagent.natsserver import ports
from tests.support.enrolling import NewDevice
from tests.support.fleet import Said, cli
from tests.support.mqtting import Login, listening, peer
from tests.support.servers import until


@pytest.fixture
def device(tmp_path: Path) -> Iterator[NewDevice]:
    """Its agent runs, without a hub."""
    made = NewDevice(tmp_path / "pi", more=f"[mqtt]\nport = {ports.pick()}")
    with made.running():
        yield made


async def begun(device: NewDevice) -> None:
    def is_ready() -> bool:
        now = device.status()
        return bool(now and now.leaf.state == "running" and now.sampling)

    await until(is_ready, "the agent runs")


def run(device: NewDevice, *words: str) -> Said:
    return cli(*words, "--settings", str(device.settings))


def values_of(path: Path) -> dict[str, str]:
    assert path.stat().st_mode & 0o777 == 0o640
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def login_in(path: Path) -> Login:
    values = values_of(path)
    ca = Path(values["MQTT_CA"]) if "MQTT_CA" in values else None
    return Login(int(values["MQTT_PORT"]), values["MQTT_USER"], values["MQTT_PASSWORD"], values["MQTT_HOST"], ca)


def leaf_pid(device: NewDevice) -> int:
    now = device.status()
    assert now
    return now.leaf.pid


@contextlib.asynccontextmanager
async def stores(device: NewDevice, said: list[int]) -> AsyncIterator[None]:
    """A program without a login stores samples all the time; ``said`` are those that the leaf acknowledged."""
    now = device.status()
    assert now
    client = await nats.connect(f"nats://127.0.0.1:{now.leaf.port}", reconnect_time_wait=0.05, max_reconnect_attempts=-1)

    stop = asyncio.Event()

    async def store() -> None:
        number = 0
        while not stop.is_set():
            try:
                answer = await client.request(localsubjects.local_metric("door"), str(number).encode(), timeout=2)
            except (nats.errors.Error, asyncio.TimeoutError):
                await asyncio.sleep(0.01)
                continue  # the same again
            if b'"seq"' in answer.data:
                said.append(number)
                number += 1

    task = asyncio.create_task(store())
    try:
        await until(lambda: len(said) > 10, "it stores")
        yield
    finally:
        stop.set()
        await task
        await client.close()


async def test_the_first_one_switches_mqtt_on_and_programs_lose_nothing(device: NewDevice) -> None:
    await begun(device)
    before, acknowledged = leaf_pid(device), list[int]()
    async with stores(device, acknowledged):
        said = await asyncio.to_thread(run, device, "mcu", "add", "m1")
        assert said.code == 0, said
        assert "below mcu/m1/" in said.out and "next start" not in said.out
        file = device.state / "mcus" / "m1.env"
        assert str(file) in said.out and values_of(file)["MQTT_TOPIC"] == "mcu/m1"
        async with peer(login_in(file), "m1") as m1:
            assert m1.refused == "" and leaf_pid(device) != before
            first = leaf_pid(device)
            assert (await asyncio.to_thread(run, device, "mcu", "add", "m2")).code == 0
            assert leaf_pid(device) == first and m1.ends == [], "the second one disturbs nobody"
            acknowledged_before = [*acknowledged]
            await until(lambda: len(acknowledged) > len(acknowledged_before), "programs go on")
            assert (await asyncio.to_thread(run, device, "mcu", "rm", "m1")).code == 0
            await until(lambda: bool(m1.ends) and m1.refused == "Not authorized", "the one that was taken away is out")
            assert not file.exists()
    kept = await stored(device)
    assert [number for number in acknowledged if number not in kept] == []
    assert "it is restarted" not in device.log, "no failure is reported, for there was none"
    shown = run(device, "status").out
    assert f"mqtt://127.0.0.1:{login_in(device.state / 'mcus' / 'm2.env').port}" in shown


async def stored(device: NewDevice) -> set[int]:
    """What the stream of samples has of the program."""
    now = device.status()
    assert now
    password = json.loads((device.state / "secrets.json").read_text())["agent"]
    client = await nats.connect(f"nats://127.0.0.1:{now.leaf.port}", user="agent", password=password)
    try:
        found, subject = set(), localsubjects.local_metric("door")
        subscription = await client.jetstream().subscribe(subject, stream=localsubjects.LOCAL_METRICS, ordered_consumer=True)
        pending = 1
        while pending:
            message = await subscription.next_msg(timeout=30)
            found.add(int(message.data))
            pending = message.metadata.num_pending
        return found
    finally:
        await client.close()


async def test_a_program_gets_both_logins_and_loses_both(device: NewDevice) -> None:
    await begun(device)
    assert run(device, "app", "add", "doors", "--mqtt").code == 0
    file = device.state / "apps" / "doors.env"
    values = values_of(file)
    async with peer(login_in(file), "doors") as doors:
        assert doors.refused == "" and await doors.subscribed("local/action/doors/+")
        client = await nats.connect(values["NATS_URL"], user=values["NATS_USER"], password=values["NATS_PASSWORD"])
        assert "mqtt" in run(device, "app", "ls").out
        assert run(device, "app", "rm", "doors").code == 0
        await until(lambda: doors.refused == "Not authorized" and not client.is_connected, "both are out")
        await client.close()
    assert not file.exists()


async def test_names_are_checked_before_anything_is_made(device: NewDevice) -> None:
    await begun(device)
    assert run(device, "app", "add", "doors").code == 0 and run(device, "mcu", "add", "m1").code == 0
    for words, why in (
        (("mcu", "add", "doors"), "a program is called so"),
        (("app", "add", "m1"), "a microcontroller is called so"),
        (("mcu", "add", "m1"), "it has a login already"),
        (("mcu", "add", "gpio"), "one of the leaf's own names"),
        (("app", "add", "mcu"), "one of the leaf's own names"),
        (("mcu", "add", "M 1"), "an id is 1 to 63"),
        (("mcu", "rm", "m7"), "those that were added: m1"),
        (("put", "mcu.m1", "1"), "the agent's own"),
    ):
        said = run(device, *words)
        assert said.code != 0 and why in said.err, words
    assert [path.name for path in (device.state / "mcus").iterdir()] == ["m1.env"]


async def test_one_of_agent_toml_stays_when_its_login_goes(tmp_path: Path) -> None:
    device = NewDevice(tmp_path / "pi", more='[serial.mcus.oven]\nusb = "2e8a:0005"')
    with device.running():
        await begun(device)
    said = run(device, "mcu", "rm", "oven")
    assert said.code != 0 and "agent.toml has [serial.mcus.oven]" in said.err
    assert run(device, "mcu", "add", "oven").code == 0
    said = run(device, "mcu", "rm", "oven")
    assert said.code == 0 and "agent.toml still names it" in said.out


async def test_a_port_that_is_taken_on_the_network_is_told_and_the_login_is_kept(tmp_path: Path) -> None:
    port = ports.pick()
    device = NewDevice(tmp_path / "pi", more=f'[mqtt]\nlisten = "0.0.0.0"\ntls = "self"\nport = {port}')
    with listening(port), device.running():
        await begun(device)
        said = run(device, "mcu", "add", "m1")
        assert said.code != 0 and f"another program uses port {port}" in said.err and "mqtt.port" in said.err
        await until(lambda: f"another program uses port {port}" in device.problems, "the status says so")
        assert login_in(device.state / "mcus" / "m1.env").ca == device.state / "mcus" / "mqtt-ca.pem"


async def test_with_tls_it_is_told_whom_to_trust(tmp_path: Path) -> None:
    device = NewDevice(tmp_path / "pi", more=f'[mqtt]\nlisten = "0.0.0.0"\ntls = "self"\nport = {ports.pick()}')
    with device.running():
        await begun(device)
        said = run(device, "mcu", "add", "m1")
        assert said.code == 0 and "mqtt-ca.pem" in said.out
        async with peer(login_in(device.state / "mcus" / "m1.env")._replace(host="127.0.0.1"), "m1") as m1:
            assert m1.refused == ""
        assert "mqtts://0.0.0.0" in run(device, "status").out


async def test_without_an_agent_it_counts_from_the_next_start(tmp_path: Path) -> None:
    device = NewDevice(tmp_path / "pi", more=f"[mqtt]\nport = {ports.pick()}")
    with device.running():
        await begun(device)
    said = run(device, "mcu", "add", "m1")
    assert said.code == 0 and "counts from the next start" in said.out
    with device.running():
        await begun(device)
        async with peer(login_in(device.state / "mcus" / "m1.env"), "m1") as m1:
            assert m1.refused == ""
