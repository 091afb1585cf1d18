"""The whole path by USB: a virtual Pico that the real command flashes, a real agent that it belongs to, and a hub beyond that."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgeagent.firmware import source
from edgeagent.localsubjects import LOCAL_METRICS
from edgeagent.link import connect
from edgeagent.patterns import mcuupdate
from edgeagent.patterns.locallog import LocalLog
from edgeagent.sample import parse
from edgeagent.status import McuStatus
from edgeagent.subjects import agent_inbox
from tests.support.fleet import STEADY, LiveFleet, Said
from tests.support.micropython import missing
from tests.support.servers import is_alive, kill
from tests.support.typed import here
from tests.support.virtualpico import Pico, wait_for

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

DEVICE, MCU = "pi-01", "pico"
#: Its numbers go on over a reset: each is measured once.
COUNT = """
from sensors import kind
@kind("count")
class Count:
    def __init__(self):
        try:
            self.n = int(open("/n").read())
        except OSError:
            self.n = 0
    def read(self):
        self.n += 1
        with open("/n.new", "w") as file:
            file.write(str(self.n))
        import os
        os.rename("/n.new", "/n")
        return {"": self.n}
"""
SETTINGS = {"interval_seconds": 0.1, "confirm_seconds": 1, "sensors": [{"kind": "count", "name": "n"}], "outputs": {"lamp": 15}}
HANGS = "while True:\n    pass\n"
NEVER_CONFIRMS = "class Trial:\n    def __init__(self, confirm, seconds): pass\n    def look(self, is_well, now): pass\n"


def version(folder: Path, name: str, **files: str) -> Path:
    """A folder with the firmware as it is, as version ``name``, and with some files of its app replaced."""
    shutil.copytree(source.folder(), folder / name)
    for module, text in {"version": f'VERSION = "{name}"\n', **files}.items():
        (folder / name / "app" / f"{module}.py").write_text(text)
    return folder / name


class Bench:
    def __init__(self, fleet: LiveFleet, pico: Pico) -> None:
        self.fleet, self.pico = fleet, pico

    def kill_agent(self) -> None:
        """With SIGKILL; it is started again."""
        before = self.fleet.pid(DEVICE)
        kill(before)
        wait_for(lambda: not is_alive(before) and self.fleet.status(DEVICE).pid != before, "another agent runs")
        self.wait("online")

    def run(self, *words: object) -> Said:
        return here(*map(str, words), "--settings", str(self.fleet.layout.settings(DEVICE)))

    def send(self, *words: object) -> Any:
        said = self.run("mcu", "send", MCU, *words, "--json")
        assert said.code == 0, said
        return json.loads(said.out)["value"]

    @property
    def firmware(self) -> dict[str, Any]:
        (row,) = json.loads(self.run("firmware", "status", "--json").out)
        return dict(row)

    @property
    def mcu(self) -> McuStatus:
        return next((each for each in self.fleet.status(DEVICE).mcus if each.id == MCU), McuStatus(id=MCU, state=""))

    def wait(self, state: str) -> None:
        wait_for(lambda: self.mcu.state == state, f"it is {state}")

    @property
    def numbers(self) -> list[int]:
        """In the leaf's store, as they came."""
        return asyncio.run(self._numbers())

    async def _numbers(self) -> list[int]:
        login = json.loads((self.fleet.layout.device(DEVICE) / "secrets.json").read_text())["agent"]
        client = await connect(self.fleet.leaf_url(DEVICE), what="x", name="test", inbox_prefix=agent_inbox(DEVICE), password=("agent", login))
        try:
            messages = (await LocalLog(client, LOCAL_METRICS).read(1, count=5000, max_bytes=8 << 20)).messages
        finally:
            await client.close()
        samples = [sample for each in messages for sample in parse(each.subject, each.data)]
        return [int(sample.value) for sample in samples if sample.metric == "mcu.n"]

    @property
    def measured(self) -> int:
        return int((self.pico.flash / "n").read_text())

    @property
    def slot(self) -> dict[str, Any]:
        return dict(json.loads((self.pico.flash / "slot.json").read_text()))

    def more(self, count: int = 3) -> list[int]:
        """All numbers, when so many more have come."""
        before = len(self.numbers)
        wait_for(lambda: len(self.numbers) >= before + count, "it goes on measuring")
        return self.numbers


@pytest.fixture(scope="module")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pico]:
    """Flashed."""
    folder = tmp_path_factory.mktemp("pico")
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    with Pico(folder, files={"lib/sensor_count.py": COUNT}) as made:
        said = here("firmware", "flash", "--port", str(made.port), "--settings", str(folder / "settings.json"))
        assert said.code == 0, said
        yield made


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, pico: Pico) -> Iterator[Bench]:
    text = '[commands]\nallow = ["mcu.update"]\n'
    with LiveFleet(tmp_path_factory.mktemp("fleet"), 1, STEADY, more=lambda device: text) as fleet, fleet.borrowed():
        made = Bench(fleet, pico)
        said = made.run("mcu", "add", MCU, "--port", pico.port)
        assert said.code == 0, said
        made.wait("online")
        yield made


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcuupdate, "PAUSE_SECONDS", 0.1)


def test_it_does_what_it_is_told(bench: Bench) -> None:
    assert bench.send("led", "on=1") == {"led": 1} and bench.send("pin.lamp", "on=1") == {"lamp": 1}
    assert (bench.pico.world / "pins").read_text().splitlines()[-2:] == ["LED 1", "15 1"]
    read = bench.send("read")
    assert (read["led"], read["lamp"]) == (1, 1)
    assert bench.send("interval") == {"seconds": 0.1} and bench.send("interval", "seconds=0.3") == {"seconds": 0.3}
    assert bench.send("interval", "seconds=0") == {"seconds": 0.1}


def test_each_reading_is_stored_once_though_it_is_unplugged_and_the_agent_is_killed(bench: Bench) -> None:
    found = bench.more()
    assert found == list(range(1, found[-1] + 1))
    bench.kill_agent()
    found = bench.more(10)
    assert found == list(range(1, found[-1] + 1)), "all that it measured meanwhile is there"

    bench.pico.tell("unplug")
    bench.wait("offline")
    assert "plugged" in bench.mcu.problem
    cut_at = bench.measured
    bench.pico.tell("plug")
    bench.wait("online")
    found = bench.more(5)
    assert found == sorted(set(found)) and found[-1] > cut_at
    assert set(range(1, found[-1] + 1)) - set(found) <= {cut_at - 1, cut_at}, "what was on its way when its power went, at most"


def test_the_configuration_of_the_fleet_reaches_it(bench: Bench) -> None:
    said = here("config", "set", "-d", DEVICE, f"mcu.{MCU}.interval_seconds=0.2")
    assert said.code == 0, said
    wait_for(lambda: bench.send("interval") == {"seconds": 0.2}, "it is told")
    bench.pico.tell("reset")
    bench.pico.wait("reset")
    bench.wait("offline")
    bench.wait("online")
    wait_for(lambda: bench.send("interval") == {"seconds": 0.2}, "it is told again")


def test_it_is_updated_from_afar_and_no_reading_is_lost_though_nobody_takes_any_when_it_restarts(bench: Bench, tmp_path: Path) -> None:
    source_folder, agent = version(tmp_path, "0.2.0"), bench.fleet.pid(DEVICE)
    before = bench.more()
    with ThreadPoolExecutor() as aside:
        update = aside.submit(here, "firmware", "update", f"{DEVICE}/{MCU}", "--source", str(source_folder), "--wait")
        wait_for(lambda: "pending" in bench.slot, "it has all of it, and restarts in a second")
        os.kill(agent, signal.SIGSTOP)
        try:
            bench.pico.wait("reset")
        finally:
            os.kill(agent, signal.SIGCONT)
        said = update.result()
    assert said.code == 0 and "succeeded" in said.out, said
    assert bench.slot == {"active": "b"}
    assert (bench.firmware["firmware"], bench.firmware["state"]) == ("0.2.0", "newer")
    found = bench.more()
    assert found[len(before) :] == list(range(before[-1] + 1, found[-1] + 1))
    again = bench.run("firmware", "update", MCU, "--source", source_folder)
    assert again.code == 0 and again.out == "pico: it runs 0.2.0 already\n" and again.err == "", again


@pytest.mark.parametrize(
    ("name", "files", "quick", "causes"),
    [
        ("0.3.0", {"trial": HANGS}, "loader.WATCHDOG_MS = 300 if loader.state().get('tries', 3) < 3 else 8388", ["watchdog"] * 3),
        ("0.4.0", {"trial": NEVER_CONFIRMS}, "loader.TRIES = loader.TRIAL_SECONDS = 1", ["reset"]),
    ],
    ids=["hangs", "never-confirms"],
)
def test_it_goes_back_from_a_version_that(bench: Bench, tmp_path: Path, name: str, files: dict[str, str], quick: str, causes: list[str]) -> None:
    runs = bench.firmware["firmware"]
    bench.pico.put("main.py", f"import loader\n{quick}\nloader.main()\n")
    seen = len(bench.pico.events)
    said = bench.run("firmware", "update", MCU, "--source", version(tmp_path, name, **files))
    assert said.code == 1 and f"version {name} did not prove itself, and it runs {runs} again" in said.err, said
    assert [each["cause"] for each in bench.pico.events[seen:] if each["event"] == "boot"] == ["reset", *causes]
    assert bench.slot["bad"] == name and "pending" not in bench.slot
    wait_for(lambda: bench.firmware["state"] == f"went back from {name}", "the status says so")
    assert bench.firmware["firmware"] == runs
    bench.more()
