"""A whole agent without a hub that measures: its collectors, a program beside them, alerts over a restart, and what the status says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from edgeagent import settings, status
from edgeagent.assembly import localcollectors
from edgeagent.assembly.device import Agent
from edgeagent.assembly.devicemetrics import DeviceMetrics
from edgeagent.assembly.devicesampling import DeviceSampling
from edgeagent.collectors import OwnState
from edgeagent.errors import Failed, UsageProblem
from edgeagent.link import connect
from edgeagent.localsubjects import local_metric
from edgeagent.metricsettings import SamplingSettings
from edgeagent.natsserver import ports
from edgeagent.patterns import programcollectors
from edgeagent.patterns.alerts import FILE
from edgeagent.places import COLLECTORS
from edgeagent.sample import Sample, parse
from tests.support import fakeroot
from tests.support.servers import until


class Device:
    """A Pi whose machine is a folder; quick, and with an alert of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = fakeroot.pi_4(folder / "root")
        (folder / "agent.toml").write_text(
            f'[device]\nid = "pi-1"\n[leaf]\nport = {ports.pick()}\n[paths]\nstate = "state"\nruntime = "run"\n'
            "[sampling]\ninterval_seconds = 1\nflush_seconds = 1\n"
            '[alert]\nhot = "hw.temperature > 80 clear < 75"\noven = "oven > 200"\n'
        )
        self.settings = settings.load(folder / "agent.toml")
        self.stop = asyncio.Event()
        self.heard: dict[str, list[Sample]] = {}

    def program(self, name: str, script: str, manifest: str = "") -> None:
        path = self.root.machine.path(f"{COLLECTORS}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        path.with_name(f"{name}.toml").write_text(manifest)

    def heat(self, celsius: float) -> None:
        self.root.write("/sys/class/thermal/thermal_zone0/temp", str(int(celsius * 1000)))

    @property
    def status(self) -> status.SamplingStatus:
        with suppress(Exception):
            return status.read(self.settings.status_file).sampling or status.SamplingStatus()
        return status.SamplingStatus()

    def errors(self) -> dict[str, str]:
        return {each.name: each.error for each in self.status.collectors if each.error}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Agent]:
        """The agent runs; what is published as samples meanwhile is heard."""
        async with Agent(self.settings, self.stop, self.root.machine) as agent:
            assert isinstance(agent.metrics, DeviceMetrics) and isinstance(agent.metrics.sampling, DeviceSampling)
            task = asyncio.create_task(agent.run())
            login = json.loads((self.settings.state_folder / "secrets.json").read_text())["agent"]
            client = await connect(
                agent.leaf.url, what="hear", name="test", inbox_prefix="_INBOX.test", password=("agent", login)
            )

            async def hear(message: object) -> None:
                subject, data = str(message.subject), message.data  # type: ignore[attr-defined]  # nats-py has no types
                self.heard.setdefault(subject.split(".")[2], []).extend(parse(subject, data))

            await client.subscribe(local_metric(), cb=hear)
            try:
                yield agent
            finally:
                await client.close()
                self.stop.set()
                await task
                self.stop.clear()

    def metrics(self, source: str) -> set[str]:
        return {sample.metric for sample in self.heard.get(source, [])}


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


async def test_it_measures_and_names_what_is_no_good(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programcollectors, "GRACE_SECONDS", 0.3)
    device.program("oven", "echo 180")
    device.program("flood", "trap '' TERM\nyes 'a b=1'", "timeout_seconds = 60")
    device.program("Bad.Name", "echo 1")
    async with device.running() as agent:
        agent.metrics.sampling.forwarding = lambda: OwnState(waiting=7, dropped={"retention": 3})
        wanted = {"system.memory.usage", "hw.temperature", "edgeagent.leaf.restarts", "edgeagent.forward.dropped"}
        await until(lambda: wanted <= device.metrics("agent") and device.metrics("oven") == {"oven"}, "all are measured")
        await until(lambda: {*device.errors()} == {"flood", "Bad.Name"}, "the bad ones are named")
        assert device.errors()["flood"] == "it wrote more than 256 KiB, and was cut off"
        assert device.errors()["Bad.Name"].startswith("its name must be")
        assert agent.leaf.options.collectors == ("flood", "oven"), "nobody else writes as these"
    stored = [sample for sample in device.heard["agent"] if sample.metric == "edgeagent.forward.dropped"]
    assert stored and stored[-1].attributes == {"edgeagent.cause": "retention"} and stored[-1].time > 0
    known = {each.name for each in device.status.collectors}
    assert {"cpu", "memory", "oven", "flood"} <= known and device.status.waiting == 0


async def test_what_is_disabled_does_not_run(device: Device) -> None:
    device.program("oven", "echo 180")
    async with device.running() as agent:
        await until(lambda: "system.uptime" in device.metrics("agent") and "oven" in device.heard, "all run")
        less = msgspec.structs.replace(device.settings.sampling, disabled=["uptime", "oven"])
        agent.metrics.set_settings(msgspec.structs.replace(device.settings, sampling=less))
        assert isinstance(less, SamplingSettings)
        await agent.metrics.sampling.sampler.flush()
        rounds = next(each.runs for each in device_collectors(agent) if each.name == "memory")
        ovens = next(each.runs for each in device_collectors(agent) if each.name == "oven")
        uptimes = next(each.runs for each in device_collectors(agent) if each.name == "uptime")
        await until(lambda: next(e.runs for e in device_collectors(agent) if e.name == "memory") >= rounds + 3, "the others do")
        assert next(each.runs for each in device_collectors(agent) if each.name == "uptime") <= uptimes + 1
        agent.metrics.sampling._healths.of("oven").error = "it was no good"
        assert [each.error for each in device_collectors(agent) if each.name == "oven"] == [""], "nobody need look after it"
        assert next(each.runs for each in device_collectors(agent) if each.name == "oven") <= ovens + 1


def device_collectors(agent: Agent) -> list[status.CollectorStatus]:
    return agent.metrics.sampling.status().collectors


async def test_an_alert_is_raised_once_over_a_restart_and_by_programs_too(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    device.heat(85)

    def said(words: str) -> int:
        return sum(words in record.getMessage() for record in caplog.records)

    async with device.running() as agent:
        await until(lambda: device.status.alerts == ["hot"], "it is raised")
        await agent.links.agent.publish(local_metric("oven"), b"250")
        await until(lambda: device.status.alerts == ["hot", "oven"], "a program's sample raises one")
    assert [(each.value, each.condition) for each in device.status.raised] == [(85, "> 80"), (250, "> 200")]
    assert said("hot: hw.temperature") == 1 and said("oven: oven is 250 (> 200)") == 1
    assert (device.settings.state_folder / FILE).exists()
    caplog.clear()
    async with device.running():
        await until(lambda: device.status.alerts == ["hot", "oven"], "both are still raised")
        device.heat(70)
        await until(lambda: device.status.alerts == ["oven"], "it is cleared")
    # The hub never heard of either, so both are told again to whoever it reaches first.
    assert said("hot: hw.temperature") == 1 and said("hot: cleared after") == 1


async def test_what_there_is_and_trying_one(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localcollectors, "APART_SECONDS", 0)
    monkeypatch.setattr(localcollectors, "LISTEN_SECONDS", 2.0)
    device.program("oven", "echo 180")
    device.program("broken", "exit 3")
    device.program("stream", "echo 1; exec sleep 600", "keeps_running = true")
    device.program("Bad.Name", "echo 1")
    machine, own = device.root.machine, device.settings
    own = msgspec.structs.replace(own, sampling=SamplingSettings(disabled=["cpu"]))
    known = [status.CollectorStatus(name="memory", runs=3, seconds=0.0123), status.CollectorStatus(name="oven", error="no")]
    rows = {row["name"]: row for row in localcollectors.listed(own, known, machine)}
    assert {"cpu", "oven", "broken", "Bad.Name", "wear"} <= rows.keys()
    assert [rows[name]["state"] for name in ("cpu", "memory", "oven", "Bad.Name", "wear")] == [
        *("disabled", "good", "fails", "fails", "has not run")
    ]
    assert rows["memory"]["ms"] == 12.3 and rows["memory"]["kind"] == "built-in" and rows["oven"]["kind"] == "program"
    tried = await localcollectors.tried(own, "uptime", machine)
    assert [(sample.metric, sample.value) for sample in tried] == [("system.uptime", 86461)]
    assert await localcollectors.tried(own, "oven", machine) == [Sample("oven", 180)]
    assert await localcollectors.tried(own, "stream", machine) == [Sample("stream", 1)]
    with pytest.raises(Failed, match="exit code 3"):
        await localcollectors.tried(own, "broken", machine)
    with pytest.raises(Failed, match="its name must be"):
        await localcollectors.tried(own, "Bad.Name", machine)
    with pytest.raises(UsageProblem, match="there is none of that name"):
        await localcollectors.tried(own, "nothing", machine)
