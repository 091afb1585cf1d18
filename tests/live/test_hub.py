"""A hub of one's own, from nothing: made, run, looked at, ended, started again; and a device that joins it."""

from __future__ import annotations

import contextlib
import json
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent import context
from edgeagent.hub.streams import STREAMS
from edgeagent.natsserver import ports
from tests.support.fleet import cli, start_cli
from tests.support.home import own_home
from tests.support.hub import Hub, ended, new_hub, started
from tests.support.servers import is_alive, until


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with new_hub(tmp_path) as hub:
        yield hub


def test_init_makes_a_hub_that_only_its_owner_can_read(hub: Hub) -> None:
    assert hub.made.code == 0 and str(hub.place.path) in hub.made.out
    assert stat.S_IMODE(hub.place.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in hub.place.path.rglob("*") if path.is_file()} == {0o600}
    found = context.load()
    assert (found.name, found.url) == ("berlin", f"nats://127.0.0.1:{hub.client_port}")
    assert Path(found.credentials).is_file() and "olga" in hub.made.out


async def test_up_runs_it_until_it_is_asked_to_end(hub: Hub) -> None:
    before = None
    for number in (signal.SIGTERM, signal.SIGINT):
        with started(hub.up()) as running:
            await until(hub.answers, "the hub answers")
            status = json.loads(hub.command("hub", "status", "--json").out)
            assert status["pid"] == hub.server and is_alive(hub.server)
            assert status["urls"]["operators"] == f"nats://127.0.0.1:{hub.client_port}"
            assert [(stream["id"], "problem" in stream) for stream in status["streams"]] == [(s.name, False) for s in STREAMS]
            assert cli("fleet", "ls").code == 0
            second = hub.command("hub", "up")
            assert second.code == 1 and f"already running as pid {running.pid}" in second.err
            code, err = ended(running, number)
        assert (code, err.count("Traceback")) == (0, 0), err
        assert not is_alive(status["pid"])
        down = hub.command("hub", "status")
        assert down.code == 1 and f"edgeagent hub up --dir {hub.place.path}" in down.err
        assert before is None or before == [stream["limit"] for stream in status["streams"]]
        before = [stream["limit"] for stream in status["streams"]]


async def test_a_device_joins_and_is_remembered(hub: Hub, tmp_path: Path) -> None:
    settings, credentials = tmp_path / "pi" / "agent.toml", tmp_path / "pi" / "device.creds"
    settings.parent.mkdir(0o700)
    settings.write_text(
        f"""[device]
id = "kitchen-1"
labels = {{ site = "berlin" }}
[hub]
urls = ["nats-leaf://127.0.0.1:{hub.leaf_port}"]
[leaf]
port = {ports.pick()}
[paths]
state = "."
runtime = "run"
"""
    )
    with started(hub.up()), contextlib.ExitStack() as later:
        await until(hub.answers, "the hub answers")
        added = hub.command("device", "add", "kitchen-1", "--groups", "kitchen, ground-floor", "--out", str(credentials))
        assert added.code == 0 and f"nats-leaf://127.0.0.1:{hub.leaf_port}" in added.out
        assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
        checked = cli("check", "--settings", str(settings))
        assert checked.code == 0 and "kitchen-1, kitchen, ground-floor, good for " in checked.out, checked.out

        agent = later.enter_context(started(start_cli("run", "--settings", str(settings))))
        asked = ("fleet", "get", "id", "-g", "kitchen", "-o", "name", "--timeout", "2")  # it may be linked and not listen yet
        await until(lambda: cli(*asked).out == "kitchen-1\n", "it answers")
        linked = cli("status", "--settings", str(settings))
        assert linked.code == 0 and "linked since" in linked.out and "groups   kitchen, ground-floor" in linked.out
        code, err = ended(agent, signal.SIGTERM)
        assert (code, err.count("Traceback")) == (0, 0), err
        assert cli("status", "--settings", str(settings)).code == 1

        def is_offline() -> bool:
            return [(d["id"], d["state"], d["site"]) for d in json.loads(cli("fleet", "ls", "--json", "--timeout", "1").out)] == [
                ("kitchen-1", "offline", "berlin")
            ]

        await until(is_offline, "the hub knows that it left")
        assert json.loads(hub.command("hub", "status", "--json").out)["devices"] == 1


async def test_another_person_gets_a_context_by_file(hub: Hub, tmp_path: Path) -> None:
    login = hub.owner.operator_credentials("viktor", "viewer")
    file = tmp_path / "viktor.creds"
    file.write_text(login.format())
    file.chmod(0o600)
    with started(hub.up()):
        await until(hub.answers, "the hub answers")
        with own_home(tmp_path / "laptop"):
            url = f"nats://127.0.0.1:{hub.client_port}"
            assert cli("context", "add", "work", "--url", url, "--credentials", str(file)).code == 0
            said = cli("fleet", "ls", "-o", "json")
            assert (said.code, json.loads(said.out)) == (0, [])
            assert cli("context", "rm", "work").code == 0 and file.exists()
            assert cli("fleet", "ls").code == 2
