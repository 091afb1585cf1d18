"""What the shell offers after Tab: asked for as the shell does, through the environment."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serial.tools import list_ports, list_ports_common

from edgeagent import context
from edgeagent.cli import completion
from edgeagent.config import KEYS
from edgeagent.hub.owner import Owner
from tests.support.fleet import PATIENCE_SECONDS, LiveFleet
from tests.support.home import own_home
from tests.support.servers import until


def offered(*words: str) -> list[str]:
    """What bash is offered for the last of ``edgeagent WORDS``; nothing may be said beside it."""
    typed = {"_EDGEAGENT_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(("edgeagent", *words)), "COMP_CWORD": str(len(words))}
    program = "import sys; sys.argv = ['edgeagent']; from edgeagent.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **typed}, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


async def test_devices_and_groups_that_the_hub_knows(fleet: LiveFleet) -> None:
    """Nothing is offered when the hub takes longer than a person waits, which on a busy machine it may."""
    await until(lambda: offered("device", "revoke", "pi-") == fleet.ids, "all devices are offered")
    await until(lambda: offered("device", "show", "pi-03") == ["pi-03"], "the one is offered")
    await until(lambda: offered("fleet", "ls", "-g", "k") == ["kitchen"], "the group is offered")
    assert offered("fleet", "ls", "--context", "nowhere", "-d", "pi-") == []


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[None]:
    """A context whose hub takes connections and says nothing."""
    with own_home(tmp_path), socket.create_server(("127.0.0.1", 0)) as server:
        file = tmp_path / "olga.creds"
        file.touch(0o600)
        file.write_text(Owner.create("mute").operator_credentials("olga", "admin").format())
        made = context.Context(
            name="mute", url=f"nats://127.0.0.1:{server.getsockname()[1]}", credentials=str(file), authorities=""
        )
        context.save(made, make_current=True)
        yield


def test_a_hub_that_says_nothing_is_no_error(silent: None) -> None:
    assert offered("device", "revoke", "pi-") == []
    assert offered("fleet", "ls", "--context", "m") == ["mute"]


def test_ports_and_boards(monkeypatch: pytest.MonkeyPatch) -> None:
    def port(path: str, vid: int, pid: int) -> list_ports_common.ListPortInfo:
        found = list_ports_common.ListPortInfo(path, skip_link_detection=True)
        found.vid, found.pid = vid, pid
        return found

    there = [port("/dev/ttyACM1", 0x2E8A, 0x0005), port("/dev/ttyUSB0", 0x1A86, 0x7523)]
    monkeypatch.setattr(list_ports, "comports", lambda: there)
    assert {"/dev/ttyACM1", "/dev/ttyUSB0"} <= set(completion.ports("/dev/")) and completion.ports("/dev/ttyU") == [
        "/dev/ttyUSB0"
    ]
    assert completion.boards("") == ["/dev/ttyACM1"] and completion.boards("/dev/ttyU") == []
    offered("firmware", "flash", "--port", "/dev/")
    offered("mcu", "add", "oven", "--port", "/dev/")


def test_keys() -> None:
    names = [name for name, about in completion.keys("") if about]
    assert [name.rstrip(".") for name in names] == sorted(KEYS) and "device.labels." in names
    assert dict(completion.keys("agent.log")) == {"agent.log_level": KEYS["agent.log_level"].description}
    assert {"alert.", "agent.log_level="} <= {name for name, _ in completion.assignments("a")}
    assert offered("config", "set", "al") == ["alert."]
