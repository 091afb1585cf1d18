"""An agent that has nothing to do but its daily work carries nothing that it does not need for that."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from edgeagent.natsserver import ports
from tests.support.fleet import LiveFleet
from tests.support.mosquitto import running
from tests.support.servers import is_alive, kill, until

DEVICE = "pi-03"
#: What is mapped when OpenSSL is loaded: 5 MiB more.
OPENSSL = re.compile(r"/(_ssl|_hashlib)\.[^/]*\.so$|/lib(ssl|crypto)\.so", re.MULTILINE)


def has_sent_samples(fleet: LiveFleet) -> bool:
    now = fleet.status(DEVICE)
    sent = now.forward.get("metric")
    return bool(sent and sent.acknowledged and now.sampling and now.sampling.collectors)


async def restarted(fleet: LiveFleet, what: str) -> None:
    """Kill DEVICE's agent or leaf and wait until another one answers."""
    before = fleet.pid(DEVICE, what)
    kill(before)
    await until(lambda: not is_alive(before), f"the {what} died")
    await until(lambda: fleet.pid(DEVICE, what) != before, f"another {what} runs")
    await asyncio.to_thread(fleet.whole)


async def test_an_agent_that_is_linked_samples_and_forwards_has_no_openssl(fleet: LiveFleet) -> None:
    await restarted(fleet, "agent")  # one that no other test has asked for anything
    await restarted(fleet, "leaf")  # nor does one load it that dialled and met nobody
    await until(lambda: has_sent_samples(fleet), "its samples are at the hub")
    maps = Path(f"/proc/{fleet.pid(DEVICE)}/maps").read_text()
    assert re.search(r"/_sqlite3\.[^/]*\.so$|sqlite3\.so", maps, re.MULTILINE), "what is loaded shows"
    assert not OPENSSL.search(maps)


#: As an agent begins. It dials a port where nothing listens, and is then told what it says itself.
MQTT = """
import sys
from edgeagent.assembly import lean
lean.load_libraries()
import asyncio
from edgeagent.bridge.mqttclient import MqttClient, MqttOptions

async def speak(port, on_message, done):
    client = MqttClient(MqttOptions(host="127.0.0.1", port=int(port), client_id="it", retry_seconds=(60, 60)), on_message=on_message)
    client.subscribe({"it": 1})
    client.start()
    while not done(client):
        client.publish("it", bytes(100_000), qos=0)
        await asyncio.sleep(0.01)
    await client.close()

heard = []
asyncio.run(speak(sys.argv[1], heard.append, lambda client: "nothing listens there" in str(client.status().problem)))
asyncio.run(speak(sys.argv[2], heard.append, lambda client: len(heard) > 20))
print(sorted({"_ssl", "_hashlib", "http.client", "email"} & set(sys.modules)))
"""


async def test_a_client_of_a_broker_without_tls_has_none_either(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        argv = [sys.executable, "-c", MQTT, str(ports.pick()), str(broker.port)]
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=90)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
