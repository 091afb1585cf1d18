"""Commands on a device over a real hub: each runs once, in order, only if it may, and its end is known."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from edgeagent import actions
from edgeagent.command import Entry, Target, is_final
from edgeagent.direct import get_last
from edgeagent.enrolled import Enrolment
from edgeagent.errors import Unreachable
from edgeagent.hub import streams
from edgeagent.link import Client
from edgeagent.patterns import commandqueue, commandrun, knowntime
from edgeagent.patterns.commands import KEY
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.times import rfc3339
from tests.support.commanding import Author, CommandDevice, heard, person, pins_of, result_of, results_of
from tests.support.servers import until
from tests.support.trusthub import TrustHub

SCOPES = (FLEET_ALL, Scope.group("berlin"), Scope.device("pi-1"))


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path / "hub") as hub:
        yield hub


@pytest_asyncio.fixture
async def client(hub: TrustHub) -> Client:
    return await hub.connect("FLEET")


@pytest_asyncio.fixture
async def author(hub: TrustHub) -> Author:
    return Author(await hub.connect("OPS"), person(hub))


@pytest.fixture
def device(hub: TrustHub, client: Client, tmp_path: Path) -> CommandDevice:
    made = CommandDevice(client, tmp_path / "device", site="berlin")
    made.trust(pins_of(hub))
    return made


async def test_a_command_runs_and_its_end_is_known(device: CommandDevice, author: Author) -> None:
    async with device.running():
        found = await heard(author.client, await author.send("ping"))
        assert found.state == "succeeded" and found.value["boot"] == "boot-1" and found.signer == "olga"


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def told(device: CommandDevice, kind: str) -> list[str]:
    return [text for each, text in device.told if each == kind]


# ---- in order, and once ----------------------------------------------------------------------------------------------------


async def test_a_thousand_that_waited_run_in_order(device: CommandDevice, author: Author, out: Path) -> None:
    wanted = [str(number) for number in range(1000)]
    for start in range(0, 1000, 200):
        ids = [await author.send("test.append", {"path": str(out), "line": line}) for line in wanted[start : start + 200]]
    async with device.running():
        assert (await heard(author.client, ids[-1])).state == "succeeded"
    assert lines(out) == wanted


async def test_a_command_in_several_logs_runs_once(device: CommandDevice, author: Author, out: Path) -> None:
    entry = author.entry("test.append", {"path": str(out)})
    for scope in SCOPES:
        await author.write(entry, scope)
    async with device.running():
        assert (await heard(author.client, entry.id)).state == "succeeded"
        last = await author.send("ping", scope=SCOPES[-1])
        assert (await heard(author.client, last)).state == "succeeded"
        await until(lambda: all(device.journal.position(str(scope)) for scope in SCOPES), "every log was read")
    assert lines(out) == ["x"]


async def test_what_another_signs_under_the_same_id_is_told_and_does_not_count(
    hub: TrustHub, device: CommandDevice, author: Author, out: Path
) -> None:
    entry = author.entry("test.append", {"path": str(out)})
    eve = Author(author.client, person(hub, "operator", "eve"))
    async with device.running():
        await author.write(entry)
        await heard(author.client, entry.id)
        await eve.write(entry)
        await until(lambda: len(told(device, "command.refused")) == 1, "it was told")
    assert "was not made by eve" in told(device, "command.refused")[0] and lines(out) == ["x"]


async def test_one_that_waits_for_nobody_runs_beside_the_others(device: CommandDevice, author: Author, out: Path) -> None:
    async with device.running():
        first = await author.send("test.wait", {"path": str(out)})
        await until(out.exists, "the first one runs")
        assert (await heard(author.client, await author.send("ping"))).state == "succeeded"
        third = await author.send("test.append", {"path": str(out.with_name("third"))})
        assert await result_of(author.client, first) is None or not is_final((await result_of(author.client, first)).state)  # type: ignore[union-attr]
        await author.cancel(first)
        assert (await heard(author.client, third)).state == "succeeded"


async def test_output_and_progress_are_told_while_it_runs(device: CommandDevice, author: Author, out: Path) -> None:
    async with device.running():
        name = await author.send("test.wait", {"path": str(out)})

        async def running() -> bool:
            found = await result_of(author.client, name)
            return found is not None and (found.state, found.output) == ("running", "began")

        await until(running, "its output is seen")
        await author.cancel(name)
        found = await heard(author.client, name)
    assert (found.state, found.output, found.exit_code) == ("cancelled", "began", 143)
    assert found.reason == "olga cancelled it while it ran"


@pytest.mark.parametrize(
    ("action", "state", "reason"),
    [
        ("test.broken", "failed", "KeyError"),
        ("test.quick", "timed_out", "it took longer than"),
        ("test.closed", "refused", "agent.toml would need `test.closed = true`"),
        ("reboot", "refused", "agent.toml would need `reboot` in `commands.allow`"),
        ("test.nothing", "refused", "there is no action 'test.nothing'"),
        ("test.append", "refused", "it needs 'path'"),
    ],
)
async def test_how_it_ends_is_said(
    device: CommandDevice, author: Author, out: Path, action: str, state: str, reason: str
) -> None:
    args = {"path": str(out)} if action in ("test.quick", "test.closed") else {}
    async with device.running():
        found = await heard(author.client, await author.send(action, args))
    assert found.state == state and reason in found.reason


async def test_of_queued_ones_that_do_the_same_only_the_newest_runs(device: CommandDevice, author: Author, out: Path) -> None:
    ids = [await author.send("test.newest", {"path": str(out), "line": "a"}) for _ in range(3)]
    other = await author.send("test.newest", {"path": str(out), "line": "b"})
    async with device.running():
        found = await results_of(author.client, [*ids, other])
    assert [each.state for each in found] == ["cancelled", "cancelled", "succeeded", "succeeded"]
    assert {each.superseded_by for each in found[:2]} == {ids[2]} and lines(out) == ["a", "b"]


# ---- whom it is for --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "runs"),
    [
        (Target(devices=["pi-1", "pi-2"]), True),
        (Target(devices=["pi-2"]), False),
        (Target(labels={"site": "berlin"}), True),
        (Target(labels={"site": "paris"}), False),
        (Target(labels={"floor": "1"}), False),
        (Target(where='labels.site == "berlin"'), True),
        (Target(where='labels.floor == "1"'), False),
        (Target(devices=["pi-1"], where="id == 'pi-2'"), False),
    ],
    ids=str,
)
async def test_only_who_is_meant_carries_it_out(device: CommandDevice, author: Author, target: Target, runs: bool) -> None:
    name = await author.send("ping", target=target)
    async with device.running():
        await heard(author.client, await author.send("ping"))
        assert (device.journal.command(name) is not None) == runs
        assert (await result_of(author.client, name) is not None) == runs


async def test_a_filter_that_makes_no_sense_is_refused(device: CommandDevice, author: Author) -> None:
    async with device.running():
        found = await heard(author.client, await author.send("ping", target=Target(where="1 +")))
        forged = await heard(author.client, await author.send("ping", target=Target(where='"\x1b[31m\u2028" == ')))
    assert found.state == "refused" and "its filter cannot be evaluated here" in found.reason
    assert forged.state == "refused" and forged.reason.isprintable()


# ---- who may ---------------------------------------------------------------------------------------------------------------


def altered(data: bytes, **more: Any) -> bytes:
    envelope = json.loads(data)
    return json.dumps({**envelope, **{key: change(envelope[key]) for key, change in more.items()}}).encode()


FORGERIES: dict[str, Callable[[TrustHub, Author, Entry], tuple[bytes, Scope]]] = {
    "no envelope": lambda hub, author, entry: (b"rubbish", FLEET_ALL),
    "altered": lambda hub, author, entry: (
        altered(author.signed(entry, FLEET_ALL, 1), body=lambda body: body.replace("ping", "pong")),
        FLEET_ALL,
    ),
    "another number": lambda hub, author, entry: (author.signed(entry, FLEET_ALL, 2), FLEET_ALL),
    "another scope": lambda hub, author, entry: (author.signed(entry, Scope.group("berlin"), 1), FLEET_ALL),
    "of another device": lambda hub, author, entry: (author.signed(entry, Scope.device("pi-2"), 1), Scope.device("pi-1")),
    "another kind": lambda hub, author, entry: (author.signed(entry, FLEET_ALL, 1, kind="config"), FLEET_ALL),
    "a viewer": lambda hub, author, entry: (
        Author(author.client, person(hub, "viewer")).signed(entry, FLEET_ALL, 1),
        FLEET_ALL,
    ),
    "an operator of groups for the fleet": lambda hub, author, entry: (
        Author(author.client, person(hub, "group-operator", "gustav", "group:berlin")).signed(entry, FLEET_ALL, 1),
        FLEET_ALL,
    ),
    "an operator of another group": lambda hub, author, entry: (
        Author(author.client, person(hub, "group-operator", "gustav", "group:paris")).signed(entry, Scope.group("berlin"), 1),
        Scope.group("berlin"),
    ),
    "an impossible id": lambda hub, author, entry: (
        author.signed(msgspec.structs.replace(entry, id="*"), FLEET_ALL, 1),
        FLEET_ALL,
    ),
    "an impossible end": lambda hub, author, entry: (
        author.signed(msgspec.structs.replace(entry, not_after=1 << 60), FLEET_ALL, 1),
        FLEET_ALL,
    ),
}


@pytest.mark.parametrize("forged", FORGERIES.values(), ids=FORGERIES.keys())
async def test_what_must_not_count_is_told_and_the_next_one_runs(
    hub: TrustHub, device: CommandDevice, author: Author, forged: Callable[[TrustHub, Author, Entry], tuple[bytes, Scope]]
) -> None:
    entry = author.entry("ping", log="l")
    data, scope = forged(hub, author, entry)
    await author.raw(data, scope, 1)
    good = Author(author.client, author.login)
    async with device.running():
        await until(lambda: told(device, "command.refused") != [], "it was told")
        assert device.journal.command(entry.id) is None
        number = 2
        later = msgspec.structs.replace(good.entry("ping"), log="l", floor=1)
        await good.raw(good.signed(later, scope, number), scope, number)
        assert (await heard(author.client, later.id)).state == "succeeded"
        assert await result_of(author.client, entry.id) is None and len(told(device, "command.refused")) == 1


async def test_a_revoked_login_commands_nothing_any_more(hub: TrustHub, device: CommandDevice, author: Author) -> None:
    before = await author.send("ping")
    async with device.running():
        await heard(author.client, before)
        device.trust(msgspec.structs.replace(pins_of(hub), revoked={author.login.public_key: 1 << 40}))
        after = await author.send("ping")
        await until(lambda: told(device, "command.refused") != [], "it was told")
        assert "login was revoked" in told(device, "command.refused")[0] and device.journal.command(after) is None


async def test_a_login_that_is_limited_to_actions_gives_and_cancels_no_others(
    hub: TrustHub, device: CommandDevice, author: Author, out: Path
) -> None:
    limited = Author(author.client, person(hub, "operator", "lea", "action:ping"))
    async with device.running():
        found = await heard(author.client, await limited.send("test.append", {"path": str(out)}))
        assert found.state == "refused" and "lea may not give the command test.append" in found.reason
        assert (await heard(author.client, await limited.send("ping"))).state == "succeeded"
        waiting = await author.send("test.wait", {"path": str(out)})
        await until(out.exists, "it runs")
        await limited.cancel(waiting)
        await until(lambda: told(device, "command.refused") != [], "it was told")
        assert "lea may not cancel test.wait" in told(device, "command.refused")[0]
        await author.cancel(waiting)
        assert (await heard(author.client, waiting)).state == "cancelled"


async def test_a_cancel_in_another_scope_stops_nothing(hub: TrustHub, device: CommandDevice, author: Author, out: Path) -> None:
    berlin = Scope.group("berlin")
    gustav = Author(author.client, person(hub, "group-operator", "gustav", "group:berlin"))
    entry = author.entry("test.append", {"path": str(out)})
    await gustav.cancel(entry.id, berlin)
    async with device.running():
        await until(lambda: device.journal.position(str(berlin)) is not None, "the cancel was read")
        await author.write(entry)
        assert (await heard(author.client, entry.id)).state == "succeeded"


# ---- cancelled, expired, at what time --------------------------------------------------------------------------------------


async def test_cancelled_before_it_ran_it_never_runs(device: CommandDevice, author: Author, out: Path) -> None:
    name = await author.send("test.append", {"path": str(out)})
    await author.cancel(name)
    async with device.running():
        found = await heard(author.client, name)
        assert found.state == "cancelled" and found.reason == "olga cancelled it" and not out.exists()
        await author.write(msgspec.structs.replace(author.entry("test.append", {"path": str(out)}), id=name))
        await heard(author.client, await author.send("ping"))
    assert not out.exists()


async def test_a_command_that_comes_after_its_cancel_does_not_run(device: CommandDevice, author: Author, out: Path) -> None:
    entry = author.entry("test.append", {"path": str(out)})
    await author.cancel(entry.id)
    await author.write(entry)
    async with device.running():
        assert (await heard(author.client, entry.id)).state == "cancelled" and not out.exists()


async def test_what_does_not_end_when_it_is_told_to_is_given_up(
    device: CommandDevice, author: Author, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commandrun, "GRACE_SECONDS", 0.1)
    async with device.running():
        name = await author.send("test.wait", {"path": str(out), "stubborn": True})
        await until(out.exists, "it runs")
        await author.cancel(name)
        assert (await heard(author.client, name)).state == "cancelled"


async def test_expired_while_the_device_was_away_it_does_not_run(device: CommandDevice, author: Author, out: Path) -> None:
    old = await author.send("test.append", {"path": str(out)}, expires=-5)
    short = await author.send("test.short", {"path": str(out)}, expires=3600, at=time.time() - 20)
    async with device.running():
        for name in (old, short):
            found = await heard(author.client, name)
            assert found.state == "expired" and "it was to be begun before 20" in found.reason
    assert not out.exists()


async def test_without_a_known_time_a_command_waits_until_there_is_one(
    device: CommandDevice, author: Author, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with device.running():
        asked = device.commands._time._ask

        async def unknown() -> None:
            raise Unreachable("ask", "a test wants it so")

        monkeypatch.setattr(device.commands._time, "_ask", unknown)
        name = await author.send("test.append", {"path": str(out)})

        async def accepted() -> bool:
            found = await result_of(author.client, name)
            return found is not None and found.state == "accepted"

        await until(accepted, "it was accepted")
        assert not out.exists()
        monkeypatch.setattr(device.commands._time, "_ask", asked)
        device.link_came()
        assert (await heard(author.client, name)).state == "succeeded"


@pytest.mark.parametrize("off", [-365 * 86400, 365 * 86400], ids=["a year behind", "a year ahead"])
async def test_a_clock_that_nobody_keeps_right_is_not_asked(
    device: CommandDevice, author: Author, out: Path, monkeypatch: pytest.MonkeyPatch, off: int
) -> None:
    """The device's clock is wrong; commands are signed, and expire, by the true one."""
    good, old = author.entry("test.append", {"path": str(out)}), author.entry("test.append", {"path": str(out)}, expires=-5)
    for entry in (good, old):
        await author.write(entry)
    true = time.time
    monkeypatch.setattr(knowntime.time, "time", lambda: true() + off)
    async with device.running():
        assert (await heard(author.client, good.id)).state == "succeeded"
        assert (await heard(author.client, old.id)).state == "expired"
    assert lines(out) == ["x"]


async def test_one_that_waits_its_part_of_a_splay_can_expire_and_be_cancelled(
    device: CommandDevice, author: Author, out: Path
) -> None:
    async with device.running():
        name = await author.send("test.append", {"path": str(out)}, splay_seconds=86400.0)
        await until(lambda: device.journal.unclaimed(1) == [] and device.journal.command(name), "it waits")
        await author.cancel(name)
        assert (await heard(author.client, name)).state == "cancelled" and not out.exists()


# ---- a device that was somebody else ---------------------------------------------------------------------------------------


def fresh(device: CommandDevice, hub: TrustHub, folder: Path) -> CommandDevice:
    """The same device, installed anew."""
    made = CommandDevice(device.client, folder, site="berlin")
    made.trust(pins_of(hub))
    return made


async def test_installed_anew_under_its_id_nothing_runs_twice(
    hub: TrustHub, device: CommandDevice, author: Author, out: Path, tmp_path: Path
) -> None:
    done = await author.send("test.append", {"path": str(out)})
    async with device.running():
        await heard(author.client, done)
        began = await author.send("test.wait", {"path": str(tmp_path / "began")})

        async def accepted() -> bool:
            return await result_of(author.client, began) is not None

        await until(accepted, "it was accepted")
        await until((tmp_path / "began").exists, "it runs")
    (tmp_path / "began").unlink()
    waits = await author.send("test.append", {"path": str(out), "line": "y"})
    async with fresh(device, hub, tmp_path / "anew").running():
        assert [each.state for each in await results_of(author.client, [done, began, waits])] == [
            "succeeded",
            "unknown",
            "succeeded",
        ]
    assert lines(out) == ["x", "y"] and not (tmp_path / "began").exists()


async def test_what_was_signed_before_it_was_enrolled_is_refused(
    hub: TrustHub, device: CommandDevice, author: Author, out: Path
) -> None:
    moment = datetime.now(timezone.utc) + timedelta(seconds=300)
    enrolled = Enrolment(id="pi-1", hub="berlin", urls=[], enrolled_at=rfc3339(moment))
    device.settings = msgspec.structs.replace(device.settings, enrolment=enrolled)
    at = time.time() - 200  # no earlier: the login was issued now, and the signer's clock may be 300 s off, as the device's
    refused = await author.send("test.append", {"path": str(out)}, at=at)
    runs = await author.send("test.append", {"path": str(out)}, at=at, older_enrolments=True)
    async with device.running():
        found = await heard(author.client, refused)
        assert found.state == "refused" and found.reason == "it was signed before this device was enrolled"
        assert (await heard(author.client, runs)).state == "succeeded"


async def test_a_store_that_was_put_back_runs_nothing_twice(
    device: CommandDevice, author: Author, out: Path, tmp_path: Path
) -> None:
    async with device.running():
        await heard(author.client, await author.send("test.append", {"path": str(out), "line": "1"}))
    shutil.copytree(device.folder, tmp_path / "copy")
    async with device.running():
        later = [await author.send("test.append", {"path": str(out), "line": line}) for line in "234"]
        await results_of(author.client, later)
    shutil.rmtree(device.folder)
    shutil.copytree(tmp_path / "copy", device.folder)
    async with device.running():
        last = await author.send("test.append", {"path": str(out), "line": "5"})
        assert [each.state for each in await results_of(author.client, [*later, last])] == ["succeeded"] * 4
        assert [device.journal.command(name).result.state for name in later] == ["succeeded"] * 3
    assert lines(out) == list("12345")


async def test_a_copy_from_when_it_was_accepted_runs_it_no_second_time(
    device: CommandDevice, author: Author, out: Path, tmp_path: Path
) -> None:
    first = await author.send("test.wait", {"path": str(tmp_path / "first")})
    second = await author.send("test.append", {"path": str(out)})
    async with device.running():
        await until(lambda: getattr(device.journal.command(second), "fence", None) is not None, "the hub knows of it")
        shutil.copytree(device.folder, tmp_path / "copy")
        await author.cancel(first)
        assert (await heard(author.client, second)).state == "succeeded"
    shutil.rmtree(device.folder)
    shutil.copytree(tmp_path / "copy", device.folder)
    async with device.running():
        await until(lambda: device.journal.command(second).result.state == "succeeded", "it took the hub's word")
    assert lines(out) == ["x"] and (await heard(author.client, first)).state == "cancelled"


async def test_a_damaged_journal_is_begun_anew_and_told(device: CommandDevice, author: Author, out: Path) -> None:
    async with device.running():
        done = await author.send("test.append", {"path": str(out)})
        await heard(author.client, done)
    (device.folder / "journal.db").write_bytes(b"rubbish" * 1000)
    async with device.running():
        assert (await heard(author.client, await author.send("ping"))).state == "succeeded"
        assert device.journal.command(done).result.state == "succeeded"
    assert "command.journal_lost" in device.kinds() and lines(out) == ["x"]


# ---- a hub that was another ------------------------------------------------------------------------------------------------


async def back(hub: TrustHub, store: Path | None) -> None:
    """Have the hub come back with another store; None: with none."""
    hub.kill()
    shutil.rmtree(hub.folder / "js")
    if store:
        shutil.copytree(store, hub.folder / "js")
    await hub.start()
    client = await hub.connect("HUB")
    await streams.ensure(client.jetstream(), 1 << 30)


def frozen(hub: TrustHub, copy: Path) -> Path:
    """A copy of the hub's store. Its server is killed, so that what was acknowledged stands there as after a power cut."""
    hub.kill()
    shutil.copytree(hub.folder / "js", copy)
    return copy


async def linked(client: Client) -> None:
    async def answers() -> bool:
        try:
            await client.flush(1)
        except Exception:
            return False
        return client.is_connected

    await until(answers, "the connection came back")


@pytest.mark.parametrize("how", ["an older copy", "wiped"])
@pytest.mark.parametrize("more", [1, 25], ids=["one more", "more than were lost"])
async def test_a_hub_that_went_back_commands_on_and_repeats_nothing(
    hub: TrustHub, device: CommandDevice, author: Author, client: Client, out: Path, tmp_path: Path, how: str, more: int
) -> None:
    wanted = [str(number) for number in range(25 + more)]
    async with device.running():
        ids = [await author.send("test.append", {"path": str(out), "line": line}) for line in wanted[:5]]
        await results_of(author.client, ids)
        copy = frozen(hub, tmp_path / "js")
        await hub.start()
        for each in (author.client, client):
            await linked(each)
        ids = [await author.send("test.append", {"path": str(out), "line": line}) for line in wanted[5:25]]
        device.link_came()
        await results_of(author.client, ids)
        await back(hub, copy if how == "an older copy" else None)
        for each in (author.client, client):
            await linked(each)
        ids = [await author.send("test.append", {"path": str(out), "line": line}) for line in wanted[25:]]
        device.link_came()
        assert {each.state for each in await results_of(author.client, ids)} == {"succeeded"}
    assert lines(out) == wanted and "command.hub_went_back" in device.kinds()


async def test_a_lagging_server_changes_nothing(device: CommandDevice, author: Author, out: Path) -> None:
    async with device.running():
        for line in "12":
            await heard(author.client, await author.send("test.append", {"path": str(out), "line": line}))
        older = await get_last(author.client, "EDGE_COMMANDS", "edge.to.fleet.all.cmd.1")
        await device.commands.changed(f"{KEY}fleet.all", older)
        assert device.journal.position("fleet.all").cursor == 2 and "command.hub_went_back" not in device.kinds()
        await heard(author.client, await author.send("test.append", {"path": str(out), "line": "3"}))
    assert lines(out) == list("123")


async def test_what_was_purged_is_passed_over(hub: TrustHub, device: CommandDevice, author: Author, out: Path) -> None:
    ids = [await author.send("test.append", {"path": str(out), "line": line}) for line in "1234"]
    js = (await hub.connect("HUB")).jetstream()
    for number in (1, 3):
        await js.purge_stream("EDGE_COMMANDS", subject=f"edge.to.fleet.all.cmd.{number}")
    async with device.running():
        await heard(author.client, ids[3])
    assert lines(out) == ["2", "4"]


async def test_a_purged_entry_at_the_cursor_repeats_nothing(
    hub: TrustHub, device: CommandDevice, author: Author, out: Path
) -> None:
    async with device.running():
        for line in "12":
            await heard(author.client, await author.send("test.append", {"path": str(out), "line": line}))
    await author.send("test.append", {"path": str(out), "line": "3"})
    js = (await hub.connect("HUB")).jetstream()
    await js.purge_stream("EDGE_COMMANDS", subject="edge.to.fleet.all.cmd.2")
    async with device.running():
        await heard(author.client, await author.send("test.append", {"path": str(out), "line": "4"}))
    assert lines(out) == list("1234")


async def test_what_ran_when_the_agent_ended_is_judged_by_its_action(device: CommandDevice, author: Author, out: Path) -> None:
    actions.register(
        actions.Action(
            name="test.reboot",
            description="Of a test.",
            run=actions.find("test.wait").run,  # type: ignore[union-attr]
            arguments=actions.find("test.wait").arguments,  # type: ignore[union-attr]
            recover=lambda context, args, before: None if context.boot == before else actions.Outcome("succeeded"),
        )
    )
    async with device.running():
        name = await author.send("test.reboot", {"path": str(out)})
        await until(out.exists, "it runs")
    device.boot = "boot-2"
    async with device.running():
        assert (await heard(author.client, name)).state == "succeeded"


async def test_what_ends_the_agent_again_and_again_is_given_up(
    device: CommandDevice, author: Author, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commandqueue, "MAX_BEGUN", 2)
    actions.register(
        dataclasses.replace(
            actions.find("test.wait"),  # type: ignore[type-var]
            name="test.stuck",
            idempotent=True,
        )
    )
    name = await author.send("test.stuck", {"path": str(out)})
    for _ in range(2):
        async with device.running():
            await until(out.exists, "it runs")
            out.unlink()
    async with device.running():
        found = await heard(author.client, name)
    assert found.state == "unknown" and not out.exists()


async def test_a_cancelled_one_that_ran_when_the_agent_ended_does_not_run_again(
    device: CommandDevice, author: Author, out: Path
) -> None:
    async with device.running():
        name = await author.send("test.wait", {"path": str(out), "stubborn": True})
        await until(out.exists, "it runs")
        await author.cancel(name)
        await until(lambda: bool(device.journal.command(name).cancelled_by), "it was cancelled")
    async with device.running():
        assert (await heard(author.client, name)).state == "cancelled"


async def test_entries_that_come_while_the_head_is_read_are_not_lost(device: CommandDevice, author: Author, out: Path) -> None:
    wanted = [str(number) for number in range(60)]
    async with device.running():
        ids = await asyncio.gather(*(author.send("test.append", {"path": str(out), "line": line}) for line in wanted))
        assert {each.state for each in await results_of(author.client, ids)} == {"succeeded"}
    assert sorted(lines(out), key=int) == wanted


async def test_a_hub_that_takes_no_results_stops_commands_and_says_why(
    hub: TrustHub, device: CommandDevice, author: Author, out: Path
) -> None:
    js = (await hub.connect("HUB")).jetstream()
    full = (await js.stream_info("EDGE_RESULTS")).config
    await js.update_stream(full.evolve(max_bytes=100))
    async with device.running():
        name = await author.send("test.append", {"path": str(out)})
        await until(lambda: "command.results_refused" in device.kinds(), "it was told")
        assert device.journal.command(name).result.state == "accepted" and not out.exists()
        await js.update_stream(full)
        device.link_came()
        assert (await heard(author.client, name)).state == "succeeded"
