"""How samples, messages and events read on a real hub: mistakes that are said, rates, units, names for the shell, the last lines."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from edgeagent.chunk import Point
from edgeagent.cli import alertnote
from edgeagent.errors import UsageProblem
from edgeagent.fleet import Fleet
from edgeagent.fleet.storedchunks import begin_at, span
from edgeagent.sample import Sample
from edgeagent.trust.creds import Credentials
from tests.live.test_completion import offered
from tests.support.chunking import Sender, logins, now_ms, point, senders
from tests.support.fleet import LiveFleet, cli, start_cli
from tests.support.servers import until
from tests.support.typed import typed


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("shown"), 0) as fleet, fleet.borrowed():
        yield fleet


@pytest.fixture(scope="module")
def known(hub: LiveFleet) -> dict[str, Credentials]:
    return asyncio.run(logins(hub))


@pytest_asyncio.fixture
async def devices(hub: LiveFleet, known: dict[str, Credentials]) -> AsyncIterator[dict[str, Sender]]:
    async with senders(hub, known) as found:
        yield found


def counter(value: float, ago_ms: int, way: str) -> Point:
    return Point("agent", Sample("net.io", value, {"way": way}, unit="By", kind="counter"), now_ms() - ago_ms, False)


@pytest_asyncio.fixture
async def io_of_pi_01(devices: dict[str, Sender]) -> None:
    await devices["pi-01"].metrics(
        *(counter(value, ago, "in") for value, ago in ((1 << 30, 30_000), (1 << 31, 20_000), (0, 10_000)))
    )


# ---- alerts on what nobody sends ---------------------------------------------------------------------------------------------------


async def test_a_metric_that_nobody_sends_is_noticed_where_an_alert_is_set(devices: dict[str, Sender]) -> None:
    await devices["pi-01"].metrics(point(now_ms(), 4.5, "cellar.temperature"))
    slip = await typed("config", "set", "--fleet", "alert.cold=cellar.temperatur < 2", "alert.off=", "agent.log_level=info")
    assert slip.code == 0 and "none of these devices sent cellar.temperatur within" in slip.err and slip.err.count("NOTE") == 1
    assert "Did you mean 'cellar.temperature'?" in slip.err
    for scope in (["--fleet"], ["-g", "berlin"], ["-d", "pi-01"]):
        said = await typed("config", "set", *scope, "alert.cold=cellar.temperature < 2")
        assert (said.code, said.err) == (0, "")


async def test_a_look_that_takes_too_long_holds_up_nobody(monkeypatch: pytest.MonkeyPatch, devices: dict[str, Sender]) -> None:
    await devices["pi-01"].metrics(point(now_ms(), 4.5, "cellar.temperature"))
    monkeypatch.setattr(alertnote, "PATIENCE_SECONDS", 0.0)
    said = await typed("config", "set", "-d", "pi-02", "alert.cold=cellar.temperatur < 3")
    assert (said.code, said.err) == (0, "")


# ---- mistakes --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("metrics show pi-01 x --plot --json", "a plot is not json"),
        ("metrics show pi-01 x --plot -o csv", "a plot is not csv"),
        ("metrics show pi-01 x -o name", "`edgeagent metrics ls -o name`"),
        ("metrics show pi-01 x --since 1m --until 1h", "--until is before --since"),
        ("metrics export --since 1m --until 2020-01-01", "--until is before --since"),
        ("data export doors --since 1m --until 1h", "--until is before --since"),
        ("metrics ls --since 2130-01-01", "that time is still to come"),
        ("metrics tail --since 2130-01-01", "that time is still to come"),
        ("data tail doors --since 2130-01-01", "that time is still to come"),
        ("events --since 2130-01-01", "that time is still to come"),
        ("events -f --since 2130-01-01", "that time is still to come"),
        ("data export local.data.doors.>", "Write 'doors.>'"),
        ("data tail local.data.doors", "a topic is what follows local.data."),
    ],
)
async def test_what_cannot_be_meant_is_said(devices: dict[str, Sender], words: str, said: str) -> None:
    found = await typed(*words.split())
    assert found.code == 2 and found.out == "" and said in found.err


async def test_bounds_of_a_time(hub: LiveFleet) -> None:
    from datetime import timedelta

    async with Fleet() as fleet:
        begin, end = await span(fleet.client, timedelta(hours=2), timedelta(hours=1))
        assert timedelta(minutes=59) < end - begin < timedelta(minutes=61)
        with pytest.raises(UsageProblem, match="still to come"):
            await begin_at(fleet.client, timedelta(hours=-1))


@pytest.mark.parametrize("command", ["metrics ls", "metrics export", "data export doors", "events"])
async def test_that_no_device_matches_is_said(devices: dict[str, Sender], command: str) -> None:
    found = await typed(*command.split(), "-l", "site=nope")
    assert found.code == 0 and "no device matches; the hub knows 3" in found.err and "There are none" not in found.err


@pytest.mark.parametrize("command", ["metrics ls", "metrics export"])
async def test_a_metric_that_nobody_sent_is_named_with_what_comes_near(io_of_pi_01: None, command: str) -> None:
    found = await typed(*command.split(), "--metric", "net.i")
    assert found.code == 0 and "is called 'net.i'. Did you mean 'net.io'?" in found.err and "There are none" not in found.err


# ---- forms -----------------------------------------------------------------------------------------------------------------------


async def test_show_and_export_have_the_same_columns(io_of_pi_01: None) -> None:
    words = ["--since", "1h", "-o"]
    shown = await typed("metrics", "show", "pi-01", "net.io", *words, "csv")
    exported = await typed("metrics", "export", "-d", "pi-01", "--metric", "net.io", *words, "csv")
    assert shown.out == exported.out and next(csv.DictReader(io.StringIO(shown.out)))["value"] == str(1 << 30)
    lines = await typed("metrics", "show", "pi-01", "net.io", *words, "ndjson")
    exported = await typed("metrics", "export", "-d", "pi-01", "--metric", "net.io", *words, "ndjson")
    assert [json.loads(line) for line in lines.out.splitlines()] == [json.loads(line) for line in exported.out.splitlines()]


async def test_a_series_has_an_id_of_its_own_and_names_are_told_once(devices: dict[str, Sender]) -> None:
    await devices["pi-02"].metrics(*(point(now_ms(), 1, "id.x", attributes={"n": str(number)}) for number in range(3)))
    rows = json.loads((await typed("metrics", "ls", "-d", "pi-02", "--metric", "id.x", "--json")).out)
    assert [row["id"] for row in rows] == [f"pi-02/agent/id.x/n={number}" for number in range(3)]
    assert (await typed("metrics", "ls", "-d", "pi-02", "--metric", "id.x", "-o", "name")).out == "id.x\n"


async def test_units_read_in_tables_and_not_in_json(devices: dict[str, Sender]) -> None:
    await devices["pi-03"].metrics(
        point(now_ms(), 18_403_577_856, "unit.disk", unit="By"), point(now_ms(), 0.999, "unit.utilization", unit="1")
    )
    table = (await typed("metrics", "ls", "-d", "pi-03", "--metric", "unit.*")).out
    assert "17.1 GiB" in table and "99.9 %" in table
    assert "17.1 GiB" in (await typed("metrics", "ls", "--metric", "unit.*")).out
    show = await typed("metrics", "show", "pi-03", "unit.utilization")
    assert "99.9 %" in show.out and "max 99.9 %" in show.err and show.err.endswith("1 sample\n")
    rows = json.loads((await typed("metrics", "ls", "-d", "pi-03", "--metric", "unit.*", "--json")).out)
    assert [row["value"] for row in rows] == [18_403_577_856, 0.999]
    with running("metrics", "tail", "--metric", "unit.disk", "-n", "1") as tail:
        assert tail.stdout and "unit.disk  17.1 GiB" in await asyncio.to_thread(tail.stdout.readline)
    (row,) = json.loads((await typed("metrics", "ls", "--metric", "unit.disk", "--json")).out)
    assert row["lowest"] == row["highest"] == 18_403_577_856


async def test_a_counter_is_shown_as_its_rate(devices: dict[str, Sender]) -> None:
    samples = ((1 << 30, 30_000), (1 << 31, 20_000), (5 << 20, 10_000))
    now = now_ms()
    await devices["pi-03"].metrics(
        *(Point("agent", Sample("rate.io", value, {}, unit="By", kind="counter"), now - ago, False) for value, ago in samples)
    )
    words = ["metrics", "show", "pi-03", "rate.io"]
    said = await typed(*words)
    assert [line.split()[-2:] for line in said.out.splitlines()[1:]] == [["102", "MiB/s"], ["512", "KiB/s"]]
    assert "1 GiB" in (await typed(*words, "--raw")).out
    raw = json.loads((await typed(*words, "--json")).out)
    rates = json.loads((await typed(*words, "--rate", "--json")).out)
    assert [row["value"] for row in raw] == [1 << 30, 1 << 31, 5 << 20]
    assert [(row["value"], row["unit"]) for row in rates] == [((1 << 30) / 10, "By/s"), ((5 << 20) / 10, "By/s")]
    assert "MiB/s" in (await typed(*words, "--plot")).out
    await devices["pi-03"].metrics(point(now_ms(), 1, "rate.gauge"))
    refused = await typed("metrics", "show", "pi-03", "rate.gauge", "--rate")
    assert refused.code == 2 and "it is no counter" in refused.err


async def test_events_have_one_shape(devices: dict[str, Sender]) -> None:
    for text in ("first", "second"):
        await devices["pi-01"].event("critical", text, id=f"id-{text}")
    words = ["events", "-d", "pi-01", "--severity", "critical"]
    assert (await typed(*words, "-o", "name")).out == "pi-01\n"
    listed = [json.loads(line) for line in (await typed(*words, "-o", "ndjson")).out.splitlines()]
    assert [row["id"] for row in listed] == ["id-first", "id-second"]
    with running(*words, "-f", "--json") as follow:
        assert follow.stdout
        assert [json.loads(await asyncio.to_thread(follow.stdout.readline)) for _ in listed] == listed


@contextlib.contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    process = start_cli(*words)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# ---- the last lines ----------------------------------------------------------------------------------------------------------------


async def test_a_tail_begins_with_the_last_lines(devices: dict[str, Sender]) -> None:
    await devices["pi-01"].metrics(*(point(now_ms() - 10 + number, number, "last.x") for number in range(5)))
    for more, values in ((["--since", "1h"], list(range(5))), (["--since", "1h", "-n", "1"], [4]), (["-n", "2"], [3, 4])):
        with running("metrics", "tail", "--metric", "last.x", "--json", *more) as tail:
            assert tail.stdout and tail.stderr
            found = [json.loads(await asyncio.to_thread(tail.stdout.readline))["value"] for _ in values]
            assert found == values and "listening" in await asyncio.to_thread(tail.stderr.readline)
            if more == ["-n", "2"]:
                await devices["pi-01"].metrics(point(now_ms(), 9, "last.x"))
                assert json.loads(await asyncio.to_thread(tail.stdout.readline))["value"] == 9


async def test_a_tail_of_messages_begins_with_the_last_ones(devices: dict[str, Sender]) -> None:
    await devices["pi-01"].data(*(("last.door", now_ms(), f"{number}".encode()) for number in range(5)))
    with running("data", "tail", "last.>", "-n", "2", "--json") as tail:
        assert tail.stdout
        assert [json.loads(await asyncio.to_thread(tail.stdout.readline))["data"] for _ in range(2)] == ["3", "4"]
        await devices["pi-01"].data(("last.door", now_ms(), b"5"))
        assert json.loads(await asyncio.to_thread(tail.stdout.readline))["data"] == "5"


# ---- the shell ---------------------------------------------------------------------------------------------------------------------


async def test_the_shell_is_offered_metrics_and_sources(io_of_pi_01: None, devices: dict[str, Sender]) -> None:
    await devices["pi-02"].metrics(point(now_ms(), 1, "fridge.door", "fridge"))
    for words, wanted in (  # nothing is offered when the hub takes longer than a person waits
        (("metrics", "show", "pi-01", "net."), ["net.io"]),
        (("metrics", "export", "--metric", "fri"), ["fridge.door"]),
        (("metrics", "tail", "--source", "fri"), ["fridge"]),
    ):
        await until(lambda words=words, wanted=wanted: offered(*words) == wanted, " ".join(words))
    assert await asyncio.to_thread(offered, "metrics", "show", "pi-01", "fridge.") == [], "that is another's"
    assert "cpu" in await asyncio.to_thread(offered, "collectors", "run", "c")


@pytest.mark.parametrize(
    "words", [["fleet", "ls", "--cached"], ["metrics", "ls"], ["events", "--json"], ["metrics", "export"]], ids=" ".join
)
async def test_whoever_leaves_a_pipe_is_no_error(io_of_pi_01: None, words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    with running_into(write, *words) as process:
        assert process.stderr
        said = await asyncio.to_thread(process.stderr.read)
        assert await asyncio.to_thread(process.wait, 60) == 0 and "Broken" not in said and "Traceback" not in said


@contextlib.contextmanager
def running_into(write: int, *words: str) -> Iterator[subprocess.Popen[str]]:
    import sys

    process = subprocess.Popen([sys.executable, "-m", "edgeagent", *words], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_an_error_keeps_its_code_without_a_reader(hub: LiveFleet) -> None:
    assert cli("metrics", "show", "pi-01", "x", "--plot", "--json").code == 2
