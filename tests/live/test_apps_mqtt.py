"""The programs of docs/apps.md that speak MQTT, run as they stand there: configuration, an order, a sample, whatever restarts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent.errors import Unreachable
from edgeagent.natsserver.supervisor import State
from tests.support import mqttleaf
from tests.support.mqttleaf import MqttLeaf
from tests.support.servers import PATIENCE_SECONDS, kill, until

PAGE = (Path(__file__).parents[2] / "docs" / "apps.md").read_text(encoding="utf-8")
#: Language -> what has to be there for it.
LANGUAGES = {"python": (), "bash": ("mosquitto_sub", "jq"), "javascript": ("node",), "c": ("cc",)}
#: Where Debian has packages of Node.
NODE_MODULES = "/usr/share/nodejs"


def program(language: str) -> str:
    """The last on the page of that language."""
    return str(re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[-1])


async def made(folder: Path, language: str) -> list[str]:
    """The program, ready to be started."""
    source = folder / f"doors.{language}"
    source.write_text(program(language))
    if language != "c":
        return [{"python": sys.executable, "bash": "bash", "javascript": "node"}[language], str(source)]
    compiling = await asyncio.create_subprocess_exec("cc", "-o", folder / "doors", source, "-lmosquitto", "-lcjson")
    assert await compiling.wait() == 0
    return [str(folder / "doors")]


def missing(language: str) -> str:
    """What is not on this machine; empty: nothing."""
    absent = [name for name in LANGUAGES[language] if not shutil.which(name)]
    if language == "c" and not Path("/usr/include/mosquitto.h").exists():
        absent.append("libmosquitto-dev")
    if language == "c" and not Path("/usr/include/cjson/cJSON.h").exists():
        absent.append("libcjson-dev")
    if language == "javascript" and not Path(NODE_MODULES, "mqtt").exists():
        absent.append("node-mqtt")
    return ", ".join(absent)


@contextlib.asynccontextmanager
async def running(folder: Path, command: list[str], port: int) -> AsyncIterator[asyncio.StreamReader]:
    login = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(port), "MQTT_USER": "doors.mqtt", "MQTT_PASSWORD": mqttleaf.PASSWORD}
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"HOME": str(folder), "PATH": os.environ["PATH"], "NODE_PATH": NODE_MODULES, "EDGEAGENT_APP": "doors", **login},
        stdout=asyncio.subprocess.PIPE,
        stderr=(folder / "errors").open("wb"),
        start_new_session=True,
    )
    assert process.stdout
    try:
        yield process.stdout
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@pytest_asyncio.fixture
async def agent(tmp_path: Path) -> AsyncIterator[MqttLeaf]:
    async with mqttleaf.running(tmp_path / "state", programs=["doors"]) as made:
        made.relay.set_configuration({"doors": {"open": "07:00"}}, {})
        yield made


async def order(agent: MqttLeaf, number: int) -> dict[str, object]:
    """What the program answers, as soon as it is there."""
    body = json.dumps({"v": 1, "id": f"order-{number}", "device": "pi-01", "action": "open", "args": {}}).encode()
    while True:
        with contextlib.suppress(Unreachable):
            if (answer := await agent.relay.ask("doors", "open", body, PATIENCE_SECONDS)) is not None:
                return dict(json.loads(answer))
        await asyncio.sleep(0.1)


async def line(out: asyncio.StreamReader) -> str:
    return (await asyncio.wait_for(out.readline(), PATIENCE_SECONDS)).decode().strip()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_program_follows_its_configuration_obeys_and_measures_whatever_restarts(
    agent: MqttLeaf, tmp_path: Path, language: str
) -> None:
    if absent := missing(language):
        pytest.skip(f"not on this machine: {absent}")
    async with running(tmp_path, await made(tmp_path, language), agent.port) as out:
        assert await line(out) == "the doors open at 07:00"
        agent.relay.set_configuration({"doors": {"open": "06:30"}}, {})
        assert await line(out) == "the doors open at 06:30"
        assert await order(agent, 1) == {"id": "order-1", "state": "succeeded", "value": 1}

        pid = agent.leaf.pid
        assert pid
        kill(pid)
        await until(lambda: agent.leaf.state is State.RUNNING and agent.leaf.pid not in (pid, None), "the leaf was started again")
        assert await line(out) == "the doors open at 06:30", "told again when it is connected again"
        assert (await order(agent, 2))["value"] == 2
        await until(lambda: _has(agent, [1, 2]), "both were stored")


async def _has(agent: MqttLeaf, wanted: list[float]) -> bool:
    return sorted(set(await agent.values("doors.opened"))) == wanted
