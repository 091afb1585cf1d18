"""The demo as its user meets it: the story, the files, the cables, whatever is killed, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent import context
from tests.support.fleet import PATIENCE_SECONDS, cli, start_cli
from tests.support.home import own_home
from tests.support.servers import is_alive, kill, until

DEVICES = ["pi-01", "pi-02", "pi-03"]


def processes_below(folder: Path) -> list[str]:
    """Command lines of whatever runs out of ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if any(word.startswith(os.fsencode(f"{folder}/")) for word in words):
                found.append(b" ".join(words).decode())
    return found


def pid_in(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0  # it is not there yet, or written just now


def states() -> dict[str, str]:
    """Device → state, as ``fleet ls`` says."""
    said = cli("fleet", "ls", "--json", "--timeout", "1")  # who was asked in the moment of its start is asked again
    return {device["id"]: device["state"] for device in json.loads(said.out)} if said.code == 0 else {}


class Demo:
    """A demo that stays up, in a home where somebody had chosen a hub of theirs before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = start_cli("demo", "--dir", str(folder))
        self.said: list[str] = []

    def until_it_stays(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.append(line)
            if "stays up until Ctrl-C" in line:
                return
        pytest.fail("".join([*self.said, *(self.process.stderr or [])]))

    def agent(self, device_id: str) -> int:
        return pid_in(self.folder / "devices" / device_id / "agent.pid")

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, out, err


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    with own_home(folder / "home"):
        before = context.Context(name="mine", url="nats://127.0.0.1:1", credentials="/nowhere.creds")
        context.save(before, make_current=True)
        demo = Demo(folder / "demo")
        try:
            demo.until_it_stays()
            yield demo
        finally:
            if demo.process.poll() is None:
                demo.end(signal.SIGTERM)
            assert processes_below(folder) == []


def test_it_tells_its_story(running: Demo) -> None:
    out = "".join(running.said)
    tables = [[line.split()[:2] for line in part.splitlines()[1:4]] for part in out.split("$ edgeagent fleet ls\n")[1:]]
    everybody = [[device, "online"] for device in DEVICES]
    assert tables == [everybody, [["pi-01", "online"], ["pi-02", "offline"], ["pi-03", "online"]], everybody]
    assert "asked local.sensor.temperature" in out and "got 21.5" in out
    row = out.split("$ edgeagent config status -d pi-02 --wait\n")[1].splitlines()[1]
    device, state, desired, applied, *_ = re.split("  +", row)
    assert (device, state) == ("pi-02", "online") and desired == applied != "-", "it follows what was set while it was away"


def test_it_ends_by_itself_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with own_home(tmp_path / "home"), tempfile.TemporaryDirectory() as short:  # tmp_path may be too long for a socket
        said = cli("demo", "--exit", "--devices", "1", env={"TMPDIR": short}, timeout=PATIENCE_SECONDS * 2)
        assert said.code == 0 and "Traceback" not in said.err, said
        assert context.names() == [] and context.current_name() is None
        assert list(Path(short).iterdir()) == [] and processes_below(Path(short)) == []


def test_it_shows_where_everything_is(running: Demo) -> None:
    for part in (
        "hub/hub.pid",
        "hub/server.pid",
        *(f"devices/{device}/{what}.pid" for device in DEVICES for what in ("agent", "leaf")),
    ):
        assert is_alive(pid_in(running.folder / part)), part
    for device in DEVICES:
        assert cli("status", "--settings", str(running.folder / "devices" / device / "agent.toml")).code == 0
    status = json.loads(cli("hub", "status", "--json", "--dir", str(running.folder / "hub")).out)
    assert status["pid"] == pid_in(running.folder / "hub" / "server.pid")
    assert (status["devices"], status["server"]["leafs"]) == (3, 3)


async def test_what_it_names_for_prometheus_is_its_own(running: Demo) -> None:
    pytest.importorskip("prometheus_client")
    assert running.process.stdout
    for line in running.process.stdout:
        if line.startswith("For Prometheus: "):
            break

    def shows() -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(line.split()[-1], timeout=10) as answer:
            return b'edgeagent_device_up{device="pi-01"} 1.0' in answer.read()
        return False

    await until(lambda: asyncio.to_thread(shows), "its devices are shown there")


def test_its_context_is_current_while_it_runs(running: Demo) -> None:
    contexts = {found["id"]: found["current"] for found in json.loads(cli("context", "ls", "--json").out)}
    assert contexts == {"demo": True, "mine": False}
    assert states() == dict.fromkeys(DEVICES, "online")


def test_a_second_one_is_refused(running: Demo, tmp_path: Path) -> None:
    said = cli("demo", "--dir", str(tmp_path))
    assert said.code == 1 and str(running.folder) in said.err and f"pid {running.process.pid}" in said.err
    assert list(tmp_path.iterdir()) == []


async def test_another_process_pulls_and_plugs_cables(running: Demo) -> None:
    said = cli("demo", "cut", "pi-02")
    assert (said.code, said.out) == (0, "the cable of pi-02 is pulled\n")
    await until(lambda: states() == {"pi-01": "online", "pi-02": "offline", "pi-03": "online"}, "pi-02 is offline")
    assert cli("demo", "restore", "pi-02").out == "the cable of pi-02 is plugged in\n"
    await until(lambda: states() == dict.fromkeys(DEVICES, "online"), "pi-02 is back")
    silent = cli("demo", "cut", "pi-03", "--silent")
    assert silent.code == 0 and "vanish" in silent.out
    assert cli("demo", "restore", "pi-03").code == 0
    unknown = cli("demo", "cut", "pi-99")
    assert unknown.code == 1 and "pi-01, pi-02, pi-03" in unknown.err


async def test_a_killed_agent_comes_back(running: Demo) -> None:
    before = running.agent("pi-01")
    kill(before)
    await until(lambda: running.agent("pi-01") != before and is_alive(running.agent("pi-01")), "another agent runs")
    await until(lambda: states() == dict.fromkeys(DEVICES, "online"), "all are online")


async def test_a_killed_agent_may_be_started_by_hand(running: Demo) -> None:
    """Whoever is first: the demo's own start of it, or the reader's. The other one says so, or takes it over."""
    before = running.agent("pi-02")
    kill(before)
    await until(lambda: not is_alive(before), "it died")
    by_hand = start_cli("run", "--settings", str(running.folder / "devices" / "pi-02" / "agent.toml"))
    try:
        await until(lambda: running.agent("pi-02") != before and is_alive(running.agent("pi-02")), "an agent runs")
        await until(lambda: states() == dict.fromkeys(DEVICES, "online"), "all are online")
        assert by_hand.poll() is None or by_hand.returncode == 1
    finally:
        by_hand.terminate()
        _, err = by_hand.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in err and ("already running" in err) == (by_hand.returncode == 1)
    await until(lambda: is_alive(running.agent("pi-02")), "the demo starts it again")
    await until(lambda: states() == dict.fromkeys(DEVICES, "online"), "all are online")


def test_ctrl_c_ends_it_and_gives_the_context_back(running: Demo) -> None:
    """The last one: the demo is over then."""
    code, _, err = running.end(signal.SIGINT)
    assert (code, err.count("Traceback")) == (0, 0) and "3 answered" in err, "by the story's own commands"
    assert (context.names(), context.current_name()) == (["mine"], "mine")
    assert processes_below(running.folder) == []
    gone = cli("demo", "cut", "pi-02")
    assert gone.code == 1 and "no demo is running" in gone.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_can_be_ended_while_it_starts(tmp_path: Path, number: signal.Signals) -> None:
    with own_home(tmp_path / "home"):
        demo = Demo(tmp_path / "demo")
        assert demo.process.stdout
        assert "starting a hub and 3 devices" in demo.process.stdout.readline()
        code, _, err = demo.end(number)
        assert context.names() == []
    assert (code, err.count("Traceback")) == (0, 0), err
    assert processes_below(tmp_path) == []


async def test_a_killed_demo_does_not_disturb_the_next(tmp_path: Path) -> None:
    """Its machines run on; the next demo in the same folder ends them first, for their cables are gone."""
    with own_home(tmp_path / "home"):
        killed = Demo(tmp_path / "demo")
        await until(lambda: is_alive(pid_in(tmp_path / "demo/devices/pi-01/leaf.pid")), "a leaf runs")
        killed.process.kill()
        killed.process.communicate(timeout=PATIENCE_SECONDS)
        assert processes_below(tmp_path) != []
        said = cli("demo", "--exit", "--devices", "1", "--dir", str(tmp_path / "demo"), timeout=PATIENCE_SECONDS * 2)
        assert said.code == 0, said
        assert context.names() == []
    assert processes_below(tmp_path) == []
