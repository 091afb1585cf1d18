"""What a device missed, and what it forgot: entries that expired unseen, a time that it did not know, a copy of its journal."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from edgeagent import actions, subjects
from edgeagent.actions import Action, Context, NoArguments, Outcome
from edgeagent.command import is_final
from edgeagent.errors import Unreachable
from edgeagent.patterns import commandrun
from edgeagent.publish import published
from edgeagent.subjects import FLEET_ALL
from tests.support.commanding import Author, CommandDevice, heard, person, pins_of, results_of
from tests.support.servers import until
from tests.support.trusthub import TrustHub


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path / "hub") as hub:
        yield hub


@pytest_asyncio.fixture
async def author(hub: TrustHub) -> Author:
    return Author(await hub.connect("OPS"), person(hub))


@pytest_asyncio.fixture
async def device(hub: TrustHub, tmp_path: Path) -> CommandDevice:
    made = CommandDevice(await hub.connect("FLEET"), tmp_path / "device", site="berlin")
    made.trust(pins_of(hub))
    return made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def lines(path: Path) -> list[str]:
    return path.read_text().split()


async def test_what_expired_unseen_is_told_also_when_newer_ones_came(device: CommandDevice, author: Author, out: Path) -> None:
    """The floor of the log is past them by then."""

    async def send(line: str, expires: int, floor: int) -> str:
        entry = author.entry("test.append", {"path": str(out), "line": line}, expires=expires, floor=floor)
        head, log, _ = await author.head(FLEET_ALL)
        signed = author.signed(msgspec.structs.replace(entry, log=log or "log"), FLEET_ALL, head + 1)
        await author.raw(signed, FLEET_ALL, head + 1)
        return entry.id

    async with device.running():
        await until(lambda: device.journal.position("fleet.all") is not None, "it saw that there is nothing")
    missed = [await send("1", -5, 1), await send("2", 60, 2)]
    async with device.running():
        assert [each.state for each in await results_of(author.client, missed)] == ["expired", "succeeded"]
    missed = [await send("3", -5, 2), await send("4", -5, 3), await send("5", 60, 5)]
    async with device.running():
        assert [each.state for each in await results_of(author.client, missed)] == ["expired", "expired", "succeeded"]
    assert lines(out) == ["2", "5"]


async def test_what_the_hub_let_go_was_no_other_log(device: CommandDevice, author: Author, hub: TrustHub, out: Path) -> None:
    """An entry that expired long ago goes one day, also the one that a device has read last before it went away."""
    async with device.running():
        first = await author.send("ping")
        assert (await heard(author.client, first)).state == "succeeded"
    entry = author.entry("test.append", {"path": str(out)})
    for number in (2, 3):
        _, log, _ = await author.head(FLEET_ALL)
        ready = msgspec.structs.replace(entry, log=log, floor=number)
        await author.raw(author.signed(ready, FLEET_ALL, number), FLEET_ALL, number)
    await (await hub.connect("HUB")).jetstream().purge_stream("EDGE_COMMANDS", subject="edge.to.fleet.all.cmd.*", keep=1)
    async with device.running():
        assert (await heard(author.client, entry.id)).state == "succeeded"
    assert lines(out) == ["x"] and "command.hub_went_back" not in device.kinds()


async def test_a_splay_counts_from_when_the_time_is_known(
    device: CommandDevice, author: Author, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that comes back reads its commands and asks for the time at once; all of a fleet must not begin together then."""
    async with device.running():
        asked = device.commands._time._ask

        async def unknown() -> None:
            raise Unreachable("ask", "a test wants it so")

        monkeypatch.setattr(device.commands._time, "_ask", unknown)
        device.commands._time._ahead = None
        splayed = await author.send("test.append", {"path": str(out)}, splay_seconds=86400.0)
        await until(lambda: device.journal.command(splayed) is not None, "it was taken")
        assert device.journal.command(splayed).taken == 0
        monkeypatch.setattr(device.commands._time, "_ask", asked)
        device.link_came()
        beside = await author.send("ping")
        assert (await heard(author.client, beside)).state == "succeeded", "the time is known"
        assert next(device.journal.waiting(concurrent=False)).id == splayed and not out.exists()


async def test_a_hub_that_tells_a_time_that_is_over_makes_nothing_run_that_has_expired(
    device: CommandDevice, author: Author, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It held the command back until then, and the device's own clock is not kept right. What people signed since says how late it is."""
    async with device.running():
        assert (await heard(author.client, await author.send("ping"))).state == "succeeded"
        monkeypatch.setattr(device.commands._time, "_ahead", time.time() - 3600 - time.monotonic())
        late = await author.send("test.append", {"path": str(out)}, expires=-5)
        assert (await heard(author.client, late)).state == "expired"
        in_time = await author.send("test.append", {"path": str(out), "line": "y"})
        assert (await heard(author.client, in_time)).state == "succeeded"
    assert lines(out) == ["y"]


async def test_what_the_hub_shows_as_our_result_ends_no_task_however_deep_it_is(
    device: CommandDevice, author: Author, hub: TrustHub
) -> None:
    entry = author.entry("ping")
    text = f'{{"id": "{entry.id}", "state": "failed", "value": {"[" * 990}{"]" * 990}}}'
    await published(await hub.connect("HUB"), subjects.result("pi-1", entry.id), text.encode())
    await author.write(entry)
    after = await author.send("ping")
    async with device.running():
        assert (await heard(author.client, after)).state == "succeeded"
        await until(lambda: is_final(device.journal.command(entry.id).result.state), "it has ended")


async def test_a_copy_from_before_it_began_runs_it_no_second_time_though_nobody_was_told(
    device: CommandDevice, author: Author, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub has heard that it was accepted, and nothing since; only the start of the agent in between tells the copy from the journal."""
    monkeypatch.setattr(commandrun, "PROGRESS_SECONDS", 3600.0)
    began = [tmp_path / name for name in ("first", "second")]
    names = [await author.send("test.wait", {"path": str(path)}) for path in began]
    third = await author.send("test.append", {"path": str(out)})
    async with device.running():
        await until(lambda: getattr(device.journal.command(third), "fence", None) is not None, "the hub knows of all")
        await until(began[0].exists, "the first one runs")
    shutil.copytree(device.folder, tmp_path / "copy")
    async with device.running():
        assert (await heard(author.client, names[0])).state == "unknown"
        await until(began[1].exists, "the second one runs")
    began[1].unlink()
    shutil.rmtree(device.folder)
    shutil.copytree(tmp_path / "copy", device.folder)
    async with device.running():
        assert [each.state for each in await results_of(author.client, [*names, third])] == ["unknown"] * 3
        last = await author.send("test.append", {"path": str(out), "line": "y"})
        assert (await heard(author.client, last)).state == "succeeded"
    assert not began[1].exists() and lines(out) == ["y"]


async def test_who_cancels_too_late_is_not_told_that_it_was_cancelled(device: CommandDevice, author: Author, out: Path) -> None:
    """An action that can't be called off any more says that nobody knows."""

    async def late(context: Context, args: NoArguments) -> Outcome:
        out.write_text("began")
        await context.cancelled.wait()
        return Outcome("unknown", "too late")

    actions.register(Action(name="test.late", description="Of a test.", run=late, arguments=NoArguments, timeout_seconds=3600))
    async with device.running():
        name = await author.send("test.late")
        await until(out.exists, "it runs")
        await author.cancel(name)
        found = await heard(author.client, name)
        assert (found.state, found.reason) == ("unknown", "too late")
