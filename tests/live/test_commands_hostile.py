"""Logs that somebody writes into who may, and means harm: a number, a floor, a log or an id of his choice stops nobody else's command."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from edgeagent.assembly import devicecommands
from edgeagent.cel import Limits
from edgeagent.command import Entry, Target
from edgeagent.direct import Stored
from edgeagent.journalrows import Step
from edgeagent.link import Client
from edgeagent.patterns import commandjudge
from edgeagent.patterns import commands as logs
from edgeagent.patterns.commandfollowers import CommandFollowers
from edgeagent.patterns.commandlog import MAX_GAP, NEAR, source
from edgeagent.runtime import Tasks
from edgeagent.subjects import FLEET_ALL, Scope
from tests.support.commanding import Author, CommandDevice, heard, person, pins_of, result_of
from tests.support.servers import until
from tests.support.trusthub import TrustHub

BERLIN, DEVICE = Scope.group("berlin"), Scope.device("pi-1")
FAR = 10**14


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path / "hub") as hub:
        yield hub


@pytest_asyncio.fixture
async def olga(hub: TrustHub) -> Author:
    return Author(await hub.connect("OPS"), person(hub))


@pytest.fixture
def eve(hub: TrustHub, olga: Author) -> Author:
    """Limited to one group and one action."""
    return Author(olga.client, person(hub, "group-operator", "eve", "group:berlin", "action:ping"))


@pytest_asyncio.fixture
async def client(hub: TrustHub) -> Client:
    return await hub.connect("FLEET")


@pytest.fixture
def device(hub: TrustHub, client: Client, tmp_path: Path) -> CommandDevice:
    made = CommandDevice(client, tmp_path / "device", site="berlin")
    made.trust(pins_of(hub))
    return made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def texts(device: CommandDevice, kind: str) -> list[str]:
    return [text for each, text in device.told if each == kind]


async def put(author: Author, entry: Entry, number: int, scope: Scope = BERLIN, *, log: str = "log", floor: int = 1) -> str:
    """Store it under this number, with this log and floor; its id."""
    ready = msgspec.structs.replace(entry, log=log, floor=floor)
    await author.raw(author.signed(ready, scope, number), scope, number)
    return entry.id


def append(author: Author, out: Path, line: str) -> Entry:
    return author.entry("test.append", {"path": str(out), "line": line}, expires=3600)


# ---- numbers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "rubbish"])
async def test_a_number_far_away_stops_no_command(
    device: CommandDevice, olga: Author, eve: Author, out: Path, signed: bool
) -> None:
    async with device.running():
        await heard(olga.client, await put(olga, append(olga, out, "1"), 1))
    await put(olga, append(olga, out, "2"), 2)
    if signed:
        await put(eve, eve.entry("ping"), FAR)
    else:
        await eve.raw(b"rubbish", BERLIN, FAR)
    async with device.running():
        await until(lambda: lines(out) == ["1", "2"], "what was there before is not passed over")
        assert (await heard(olga.client, await olga.send("ping", scope=DEVICE))).state == "succeeded"
        assert (await heard(olga.client, await put(olga, append(olga, out, "3"), 3))).state == "succeeded"
    assert lines(out) == ["1", "2", "3"] and "command.hub_went_back" not in device.kinds()
    assert [str(FAR) in text for text in texts(device, "command.number_too_large")] == [True]


async def test_a_far_number_costs_a_bounded_number_of_reads(
    device: CommandDevice, olga: Author, eve: Author, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = client.request

    async def counted(subject: str, *args: Any, **options: Any) -> Any:
        asked.append(subject)
        return await ask(subject, *args, **options)

    async with device.running():
        await heard(olga.client, await put(olga, olga.entry("ping"), 1))
        monkeypatch.setattr(client, "request", counted)
        assert (await heard(olga.client, await put(eve, eve.entry("ping"), FAR))).state == "succeeded"
    assert {int(number) for subject in asked if (number := subject.rpartition(".")[2]).isdigit()} <= {
        1,
        *range(2, 2 + NEAR),
        *range(FAR - NEAR, FAR + 1),
    }


async def test_a_long_backlog_is_read_whole(device: CommandDevice, olga: Author, out: Path) -> None:
    """As many numbers as an honest log has, of which most were purged."""
    async with device.running():
        await heard(olga.client, await put(olga, append(olga, out, "1"), 1))
    for number in (2, MAX_GAP // 2, MAX_GAP - 1):
        await put(olga, append(olga, out, str(number)), number)
    async with device.running():
        await heard(olga.client, await put(olga, append(olga, out, "last"), MAX_GAP, floor=MAX_GAP))
    assert lines(out) == ["1", "2", str(MAX_GAP // 2), str(MAX_GAP - 1), "last"]


async def test_no_log_waits_for_another(client: Client, hub: TrustHub, olga: Author) -> None:
    """Nor can whom to trust and the configuration, which have a follower of their own."""
    tasks, seen = Tasks(), list[str]()

    async def changed(key: str, stored: Stored | None) -> None:
        seen.append(key)
        if key == "slow":
            await asyncio.Event().wait()

    followers = CommandFollowers(client, changed)
    try:
        followers.start(tasks)
        await followers.set_sources([source(BERLIN, "slow"), source(FLEET_ALL, "quick")])
        await until(lambda: seen.count("quick") == 1 and "slow" in seen, "both were read")
        followers.link_came()
        await until(lambda: seen.count("quick") == 2, "it is read again")
        await followers.set_sources([source(FLEET_ALL, "quick"), source(DEVICE, "new")])
        await until(lambda: "new" in seen, "the new one is read, and the slow one was ended")
        assert seen.count("slow") == 1
    finally:
        await followers.close()
        await tasks.close()


# ---- ids, floors, logs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["ping", "test.closed"], ids=["one that she may give", "one that she may not"])
async def test_an_id_that_was_copied_takes_nothing_from_its_owner(
    device: CommandDevice, olga: Author, eve: Author, out: Path, action: str
) -> None:
    """Also if the copy is the first that a device reads."""
    entry = append(olga, out, "olga")
    await eve.write(msgspec.structs.replace(eve.entry(action), id=entry.id), BERLIN)
    async with device.running():
        await until(lambda: texts(device, "command.refused") != [], "the copy was told")
        assert device.journal.command(entry.id) is None and await result_of(olga.client, entry.id) is None
        await olga.write(entry, DEVICE)
        found = await heard(olga.client, entry.id)
    assert (found.state, found.signer, lines(out)) == ("succeeded", "olga", ["olga"])
    assert "was not made by eve" in texts(device, "command.refused")[0]


async def test_a_copied_id_is_told_once(device: CommandDevice, olga: Author, eve: Author) -> None:
    entry = olga.entry("ping")
    await put(eve, msgspec.structs.replace(eve.entry("ping"), id=entry.id), 1)
    async with device.running():
        await until(lambda: texts(device, "command.refused") != [], "it was told")
        device.link_came()
        await heard(olga.client, await olga.send("ping"))
    async with device.running():
        await heard(olga.client, await olga.send("ping"))
        await until(lambda: device.journal.position(str(BERLIN)) is not None, "its log was looked at")
        await heard(olga.client, await put(olga, olga.entry("ping"), 2))
    assert len(texts(device, "command.refused")) == 1


@pytest.mark.parametrize("known", [True, False], ids=["a log that it knows", "one that it never read"])
@pytest.mark.parametrize(("log", "floor"), [("log", 3), ("evil", 3), ("evil", 1)], ids=["floor", "log and floor", "log"])
async def test_what_an_entry_says_of_its_log_hides_no_other(
    device: CommandDevice, olga: Author, eve: Author, out: Path, known: bool, log: str, floor: int
) -> None:
    async with device.running():
        if known:
            await heard(olga.client, await put(olga, olga.entry("ping"), 1))
    await put(olga, append(olga, out, "pending"), 2)
    await put(eve, eve.entry("ping"), 3, log=log, floor=floor)
    async with device.running():
        assert (await heard(olga.client, await put(olga, append(olga, out, "next"), 4))).state == "succeeded"
    assert lines(out) == ["pending", "next"] and "command.hub_went_back" not in device.kinds()


# ---- what it costs ---------------------------------------------------------------------------------------------------------


async def test_rubbish_is_not_kept_and_is_told_once(device: CommandDevice, olga: Author, eve: Author) -> None:
    async with device.running():
        await heard(olga.client, await put(olga, olga.entry("ping"), 1))
    for number in range(2, 16):
        await eve.raw(b"rubbish", BERLIN, number)
    last = await put(olga, olga.entry("ping"), 16)
    async with device.running():
        await heard(olga.client, last)
        noted = [number for number in range(1, 17) if device.journal.noted(str(BERLIN), number)]
    assert noted == [1, 16]
    assert [text.partition(",")[0] for text in texts(device, "command.refused")] == [f"14 entries for {BERLIN}"]


async def test_what_was_refused_keeps_no_arguments_and_not_for_ever(device: CommandDevice, olga: Author, eve: Author) -> None:
    async with device.running():
        name = await eve.send("no.such.action", {"text": "x" * 1000}, BERLIN, expires=10**10)
        assert (await heard(olga.client, name)).state == "refused"
        found = device.journal.command(name)
    assert found.args == {} and found.not_after < time.time() + 8 * 86400


async def test_the_journal_forgets_while_the_link_stays(device: CommandDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devicecommands, "PRUNE_SECONDS", 0.05)
    async with device.running():
        monkeypatch.setattr(device.commands._time, "_synchronized", lambda: True)
        device.journal.take("group.old", "log", [Step(number, "digest", 1) for number in (1, 2)])
        await until(lambda: device.journal.noted("group.old", 1) == "", "it was forgotten")
        assert device.journal.noted("group.old", 2) == "digest"


# ---- times, disks, filters -------------------------------------------------------------------------------------------------


async def test_what_was_signed_ahead_is_refused(
    device: CommandDevice, olga: Author, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that is kept right; where only the hub says how late it is, a person is believed before it."""
    async with device.running():
        monkeypatch.setattr(device.commands._time, "_synchronized", lambda: True)
        await heard(olga.client, await olga.send("ping"))
        late = await olga.send("test.append", {"path": str(out)}, at=time.time() + 3000, expires=6000)
        found = await heard(olga.client, late)
    assert found.state == "refused" and "still to come" in found.reason and not out.exists()


async def test_who_signs_far_ahead_moves_no_clock(
    device: CommandDevice, olga: Author, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here only the hub says how late it is, and she may give every command."""
    monkeypatch.setattr(commandjudge, "MAX_AHEAD_SECONDS", 1000)  # her login does not last for days
    async with device.running():
        await heard(olga.client, await olga.send("ping"))
        ahead = await olga.send("ping", at=time.time() + 3000, expires=6000)
        assert (await heard(olga.client, ahead)).state == "refused"
        in_time = await olga.send("test.append", {"path": str(out), "line": "x"})
        assert (await heard(olga.client, in_time)).state == "succeeded"
        assert device.commands._time.now() < time.time() + 60


async def test_a_disk_that_has_room_again_is_noticed_without_a_ring(device: CommandDevice, olga: Author, out: Path) -> None:
    async with device.running():
        await heard(olga.client, await olga.send("ping"))
        pages = device.journal._db.execute("PRAGMA page_count").fetchone()[0]
        device.journal._db.execute(f"PRAGMA max_page_count = {pages}")
        name = await olga.send("test.append", {"path": str(out), "line": "/" * 50_000}, expires=600)
        await until(lambda: device.commands._logs.problem != "", "it could not be written")
        device.journal._db.execute("PRAGMA max_page_count = 1000000")
        assert (await heard(olga.client, name)).state == "succeeded"


async def test_a_filter_that_can_not_be_evaluated_now_is_tried_again(device: CommandDevice, olga: Author) -> None:
    async with device.running():
        evaluator = device.commands._logs._here.evaluator
        evaluator._limits = Limits(waiting=0)
        before = await olga.send("ping")
        name = await olga.send("ping", target=Target(where='labels.site == "berlin"'))
        assert (await heard(olga.client, before)).state == "succeeded"
        await until(lambda: device.commands._logs._busy[FLEET_ALL][0] == 2, "it was tried")
        assert device.journal.command(name) is None
        evaluator._limits = Limits()
        assert (await heard(olga.client, name)).state == "succeeded"


async def test_a_filter_is_not_tried_for_ever(device: CommandDevice, olga: Author, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_TRIES", 2)
    async with device.running():
        device.commands._logs._here.evaluator._limits = Limits(waiting=0)
        name = await olga.send("ping", target=Target(where='labels.site == "berlin"'))
        found = await heard(olga.client, name)
    assert found.state == "refused" and "filters are waiting" in found.reason
