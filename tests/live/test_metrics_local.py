"""`edgeagent metrics local` and `edgeagent put` beside a real agent: without a hub, with the agent dead, and with the leaf dead too."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent import settings
from edgeagent.assembly.localmetrics import METRICS, opened
from edgeagent.chunk import Point
from edgeagent.cli.metrics_local import _samples
from edgeagent.errors import UsageProblem
from edgeagent.leaf.secrets import load
from edgeagent.link import connect
from edgeagent.publish import published
from edgeagent.sample import Sample
from tests.support.enrolling import NewDevice
from tests.support.fleet import Said, cli
from tests.support.servers import kill, kill_leftovers, until


@pytest.fixture
def device(tmp_path: Path) -> Iterator[NewDevice]:
    yield NewDevice(tmp_path / "device")
    kill_leftovers(tmp_path)


def said(device: NewDevice, *words: str) -> Said:
    return cli(*words, "--settings", str(device.settings))


def held(device: NewDevice) -> Any:
    found = said(device, "metrics", "local", "--json")
    assert found.code == 0, found
    return json.loads(found.out)


async def runs(device: NewDevice) -> int:
    """Wait until samples can be stored; the leaf's port."""
    await until(lambda: (found := device.status()) is not None and found.leaf.state == "running", "its leaf runs")
    status, login = device.status(), load(device.state / "secrets.json")
    assert status and login
    url = f"nats://127.0.0.1:{status.leaf.port}"
    client = await connect(url, what="look", name="look", inbox_prefix="_INBOX.agent.look", password=("agent", login.agent))

    async def there() -> bool:
        streams = await client.jetstream().streams_info()
        return len(streams) == 2

    await until(there, "the streams are there")
    await client.close()
    return status.leaf.port


async def test_what_is_stored_by_whom_and_what_waits(device: NewDevice) -> None:
    assert said(device, "metrics", "local").code == 1
    with device.running() as agent:
        await runs(device)
        for words in (
            ["doors", "open=3", "side=north"],
            ["doors", "open=4"],
            ["water.level", "0.5"],
            ["--data", "doors.log", "x"],
        ):
            assert said(device, "put", *words).code == 0
        found = held(device)
        rows = {row["source"]: (row["messages"], row["metrics"]) for row in found["metric"]["sources"]}  # and the agent's own
        assert (rows["doors"], rows["water"]) == ((2, ["doors.open"]), (1, ["water.level"]))
        assert found["metric"]["messages"] >= 3 and 0 < found["metric"]["bytes"] < found["metric"]["limit_bytes"]
        assert [row["source"] for row in found["data"]["sources"]] == ["doors.log"]
        table = said(device, "metrics", "local").out
        assert "not asked yet; dropped: none" in table and table.startswith("samples ")
        assert "doors.log" in table

        points = json.loads(said(device, "metrics", "local", "doors", "--json").out)
        assert [(row["metric"], row["value"], row["attributes"]) for row in points] == [
            ("doors.open", 3, {"side": "north"}),
            ("doors.open", 4, {}),
        ]
        assert len(said(device, "metrics", "local", "doors.open", "-n", "1").out.splitlines()) == 2
        nobody = said(device, "metrics", "local", "lift")
        assert nobody.code == 2 and "none of 'lift'" in nobody.err

        agent.send_signal(signal.SIGKILL)
        agent.wait()
        assert said(device, "put", "water.level", "0.6").code == 0, "the leaf outlives the agent"
        levels = json.loads(said(device, "metrics", "local", "water.level", "--json").out)
        assert [row["value"] for row in levels] == [0.5, 0.6]
        kill(int(leaf_pid(device)))
        dead = said(device, "metrics", "local")
        assert dead.code == 1 and "nothing listens" in dead.err and "The store is on the disk" in dead.err


def leaf_pid(device: NewDevice) -> str:
    """Of the server with this device's configuration."""
    wanted = str(device.state / "leaf.conf").encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in words:
                return entry.name
    raise AssertionError("its leaf does not run")


async def test_the_newest_of_many_is_found_and_rubbish_is_passed_over(device: NewDevice) -> None:
    with device.running():
        port = await runs(device)
        client = await connect(f"nats://127.0.0.1:{port}", what="flood", name="flood", inbox_prefix="_INBOX.flood")
        await published(client, "local.metric.rare", b"1")
        for number in range(3000):
            await client.publish("local.metric.many", b"%d" % number)
        await published(client, "local.metric.many", b"rubbish")
        await client.close()
        async with opened(settings.load(device.settings)) as store:
            found = await store.held(METRICS)
            many, rare = (next(source for source in found.sources if source.name == name) for name in ("many", "rare"))
            assert (many.messages, rare.messages) == (3001, 1)
            assert many.a_minute > 1000 and many.newest and rare.newest is None, "not among the newest"
            assert [point.sample.value for point in await store.last("rare", 5)] == [1]
            assert [point.sample.value for point in await store.last("many", 700)] == list(range(2300, 3000))
            with pytest.raises(UsageProblem):
                await asyncio.wait_for(store.last("nobody", 5), 30)


def test_times_are_those_of_this_place_also_guessed_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    then = 1_700_000_000_000  # 2023-11-14 22:13:20 UTC
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Etc/GMT-3")
        time.tzset()
        _samples([Point("oven", Sample("oven", 180), then, True)], as_json=False)
    time.tzset()
    assert "2023-11-15 01:13:20 (a guess)  oven" in capsys.readouterr().out
