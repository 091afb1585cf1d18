"""docs/brokers.md, as it stands there: a device of a fleet, its owner's mosquitto, and what the operator sees of it from afar."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edgeagent.settings import parse
from tests.support.fleet import Device, LiveFleet, cli
from tests.support.mosquitto import Mosquitto, Other, running
from tests.support.servers import until

PAGE = Path(__file__).parents[2] / "docs" / "brokers.md"
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: re.sub(r"\W+", "-", text.splitlines()[0])[:40])
def test_the_examples_are_accepted(text: str) -> None:
    assert parse(text, Path("/etc/edgeagent/agent.toml")).given


def example(broker: Mosquitto, folder: Path, *starts: str) -> str:
    """The examples of the page that begin so, with our broker in place of theirs."""
    found = "".join(next(text for text in EXAMPLES if text.startswith(start)) for start in starts)
    (folder / "password").write_text("let me in\n")
    found = found.replace("mqtt://192.168.1.2", broker.url).replace("/etc/edgeagent/broker.password", str(folder / "password"))
    assert broker.url in found
    return found


async def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    async with running(tmp_path / "broker", logins={"pi": "let me in", "ha": "me too"}) as broker:
        text = example(broker, tmp_path, "[mqtt.brokers.home]", "[commands]")
        with LiveFleet(tmp_path / "fleet", 0) as fleet, fleet.borrowed():
            device = Device(fleet, tmp_path / "pi-01", "pi-01", f"[forward]\nseconds = 1\n{text}")
            await device.register()
            with device.running():
                async with Other(broker.port, "homeassistant/#", "edgeagent/#", user="ha", password="me too") as home:
                    await until(lambda: home.of("homeassistant/device/edgeagent_pi-01/config") != [], "it is found")
                    described = json.loads(home.of("homeassistant/device/edgeagent_pi-01/config")[-1])["cmps"]
                    await home.say("zigbee2mqtt/kitchen", '{"temperature": 21.5, "linkquality": 80}')
                    switch = described["switch_lamp"]
                    await home.say(switch["command_topic"], switch["payload_on"])
                    await until(lambda: home.of(switch["state_topic"])[-1:] == [b"1"], "the lamp is on")
                    await home.say("edgeagent/pi-01/action/gpio.pulse", '{"pin": "lamp"}')
                    await until(lambda: home.of("edgeagent/pi-01/action/gpio.pulse/result") != [], "it is refused")
                    await until(lambda: seen(["events", "-d", "pi-01"], "gpio.pulse pin=lamp: refused"), "it is in the audit")
                    said = cli("events", "-d", "pi-01").out
                    assert "the broker home asked for gpio.write pin=lamp value=1: succeeded" in said
                    assert "`gpio.pulse` in `mqtt.brokers.home.allow`" in said
                    shows = ["metrics", "show", "pi-01", "zigbee2mqtt.temperature", "--since", "1h"]
                    await until(lambda: seen(shows, "21.5"), "what Zigbee2MQTT published is at the hub")
                    assert "kitchen" in cli(*shows, "-o", "json").out
                    said = cli("status", "--settings", str(device.settings)).out
                    assert re.search(r"broker +home: connected to 127.0.0.1:\d+, \d+ taken", said), said


def seen(words: list[str], text: str) -> bool:
    return text in cli(*words).out
