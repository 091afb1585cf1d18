"""Operators configure a fleet: documents written, compared, rolled back; two at once; who may not; attackers; who follows what."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent import subjects, wire
from edgeagent.errors import Failed, Refused, UsageProblem
from edgeagent.fleet import Fleet
from edgeagent.fleet.allowed import unless_forbidden
from edgeagent.fleet.config import Written
from edgeagent.fleet.configversion import Version
from edgeagent.fleet.configwatch import Bucket, DeviceChange, DocumentChange, Reports, progress, watch
from edgeagent.fleet.roster import Roster
from edgeagent.link import Client
from edgeagent.publish import published
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.times import rfc3339
from tests.support.administering import inside, registered
from tests.support.configcli import applied, envelope_of, good, here, login_file, ok, raw, soon
from tests.support.fleet import CONTEXT_USER, PATIENCE_SECONDS, LiveFleet, cli, start_cli
from tests.support.servers import until

BERLIN, PI_01 = Scope.group("berlin"), Scope.device("pi-01")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("config"), 2) as fleet:
        yield fleet


@pytest.fixture
def hub(running: LiveFleet) -> Iterator[LiveFleet]:
    """A hub with pi-01 in berlin and kitchen, pi-02 in munich and office; every test leaves documents of its own behind."""
    with running.borrowed() as fleet:
        yield fleet


@pytest_asyncio.fixture
async def fleet(hub: LiveFleet) -> AsyncIterator[Fleet]:
    """The demo's operator, who is an administrator."""
    async with Fleet() as opened:
        yield opened


# ---- one document ----------------------------------------------------------------------------------------------------------


def test_the_life_of_a_document_on_the_command_line(hub: LiveFleet, tmp_path: Path) -> None:
    scope = ("-d", "pi-02")
    assert "# device.pi-02 has no configuration" in good("get", *scope)
    assert json.loads(good("get", *scope, "--json"))["revision"] == 0
    assert "has no configuration" in good("diff", *scope) and "never had" in good("history", *scope)

    said = good("set", *scope, "app.doors.open=07:00", "app.doors.floors=[1, 2]", "agent.log_level=debug", "-m", "summer")
    assert 'agent.log_level   (not set) -> "debug"' in said and "app.doors.floors  (not set) -> [1, 2]" in said
    assert "1 device follows it; it is online now" in said
    got = json.loads(good("get", *scope, "--json"))
    first = got["revision"]
    assert got["values"] == {"app": {"doors": {"open": "07:00", "floors": [1, 2]}}, "agent": {"log_level": "debug"}}
    assert (got["scope"], got["by"], got["note"]) == ("device.pi-02", CONTEXT_USER, "summer") and got["generation"] > 1.7e12
    assert "nothing changes: device.pi-02 stays at revision" in good("set", *scope, "agent.log_level=debug")

    changed = json.loads(good("set", *scope, "app.doors.open=08:00", "--json", "--revision", str(first)))
    assert changed["changed"] == {"app.doors.open": ["07:00", "08:00"]} and changed["revision"] > first
    stale = here("set", *scope, "app.doors.open=09:00", "--revision", str(first))
    assert stale.code == 1 and f"the newest is revision {changed['revision']} by {CONTEXT_USER}" in stale.err

    assert good("get", *scope, "app.doors.open") == "08:00\n"
    assert good("get", *scope, "app.doors", "--json") == '{"open": "08:00", "floors": [1, 2]}\n'
    missing = here("get", *scope, "app.dors.open")
    assert missing.code == 2 and "did you mean 'app.doors.open'" in missing.err.lower()
    assert "agent.log_level" in good("unset", *scope, "agent.log_level")
    unknown = here("unset", *scope, "agent.log_level")
    assert unknown.code == 2 and "not set there" in unknown.err

    assert 'agent.log_level  "debug" -> (not set)' in good("diff", *scope)
    compared = json.loads(good("diff", *scope, str(first), str(changed["revision"]), "--json"))
    assert compared["changed"] == {"app.doors.open": ["07:00", "08:00"]}
    assert here("diff", *scope, "999999").code == 2

    rolled = good("rollback", *scope, str(first))
    assert 'app.doors.open   "08:00" -> "07:00"' in rolled
    history = json.loads(good("history", *scope, "--json"))
    assert [item["note"] for item in history] == [f"rollback to revision {first}", "", "", "summer"]
    assert all(item["by"] == CONTEXT_USER for item in history)
    assert [item["generation"] for item in history] == sorted((item["generation"] for item in history), reverse=True)
    assert json.loads(good("get", *scope, "--json"))["values"] == got["values"], "exactly the older one"
    listed = good("history", *scope).splitlines()
    assert listed[0].startswith("revision ") and f"rollback to revision {first}" in listed[0]

    file = tmp_path / "pi-02.toml"
    file.write_text('[app.doors]\nopen = "10:00"\n')
    assert "would change" in good("apply", *scope, str(file), "--dry-run")
    assert json.loads(good("get", *scope, "--json"))["values"] == got["values"]
    assert json.loads(good("apply", *scope, str(file), "--json"))["changed"]["agent.log_level"] == ["debug", None]
    good("apply", *scope, "-", input='{"app": {"doors": {"open": "11:00"}}}')
    assert good("get", *scope, "app.doors.open") == "11:00\n"
    again = good("get", *scope)
    assert "nothing changes" in good("apply", *scope, "-", input=again), "what get prints, apply takes"


def test_a_document_is_edited_and_no_text_is_ever_lost(hub: LiveFleet, tmp_path: Path) -> None:
    scope, drafts = ("-g", "kitchen"), Path(str(hub._home)) / "state" / "edgeagent" / "drafts"
    good("set", *scope, "app.lamp.on=true")
    edited = good("edit", *scope, "-m", "off", env={"EDITOR": "sed -i s/true/false/"})
    assert "app.lamp.on  true -> false" in edited and good("get", *scope, "app.lamp.on") == "false\n"
    assert "nothing was changed" in good("edit", *scope, env={"EDITOR": "true"}) and not list(drafts.iterdir())

    wrong = here("edit", *scope, env={"EDITOR": "sed -i s/app.lamp/agent/"}, input="")
    assert wrong.code == 2 and "agent.on: there is no such setting" in wrong.err
    (kept,) = drafts.iterdir()
    assert str(kept) in wrong.out and "[agent]" in kept.read_text() and kept.stat().st_mode & 0o077 == 0
    kept.unlink()

    # While the editor is open somebody else changes the document.
    script = tmp_path / "editor"
    script.write_text(f'#!/bin/sh\nsed -i s/false/7/ "$1"\n{ours()} config set -g kitchen app.lamp.colour=red\n')
    script.chmod(0o700)
    late = here("edit", *scope, env={"EDITOR": str(script)})
    assert late.code == 1 and f"{CONTEXT_USER} changed app.lamp.colour meanwhile" in late.err
    (kept,) = drafts.iterdir()
    assert "on = 7" in kept.read_text() and str(kept) in late.out
    assert good("get", *scope, "app.lamp", "--json") == '{"on": false, "colour": "red"}\n'
    kept.unlink()


def test_who_mistypes_edits_again(hub: LiveFleet, tmp_path: Path) -> None:
    script = tmp_path / "editor"
    script.write_text('#!/bin/sh\ngrep -q wrong "$1" && sed -i "s/wrong.*/[app.again]\\nx = 1/" "$1" || echo "wrong =" >> "$1"\n')
    script.chmod(0o700)
    keyboard, terminal = pty.openpty()
    try:
        os.write(keyboard, b"y\n")
        words = [*ours().split(), "config", "edit", "-g", "office"]
        done = subprocess.run(
            words,
            stdin=terminal,
            capture_output=True,
            text=True,
            env={**os.environ, "EDITOR": str(script)},
            timeout=PATIENCE_SECONDS,
        )
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert done.returncode == 0 and "it is not valid TOML" in done.stderr and "app.again.x  (not set) -> 1" in done.stdout, done


def ours() -> str:
    return f"{sys.executable} -m edgeagent"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set", "-d", "pi-09", "app.a.b=1"], "the hub knows no such device. Did you mean"),
        (["set", "-g", "berln", "app.a.b=1"], "Did you mean 'berlin'"),
        (["set", "app.a.b=1"], "no scope is named"),
        (["get", "--fleet", "-g", "berlin"], "more than one scope"),
        (["set", "--fleet", "-l", "site=berlin", "app.a.b=1"], "a label is what devices say about themselves"),
        (["set", "--fleet", "agent.logg=1", "agent.heartbeat_seconds=0", "hub.urls=x"], "did you mean agent.log_level?"),
        (
            ["set", "--fleet", "agent.logg=1", "agent.heartbeat_seconds=0", "hub.urls=x"],
            "agent.heartbeat_seconds = 0: it must be at least 1",
        ),
        (["set", "--fleet", "app.big.x=" + "x" * 61_000], "61,440 fit"),
        (["set", "--fleet", "app.a.b=[2026-11-21]"], "write a date as text"),
        (["rollback", "--fleet", "999999"], "no such revision"),
        (["effective", "pi-9"], "the hub knows no such device"),
        (["status", "-g", "berln"], "no device is in such a group"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_said_before_anything_is_written(hub: LiveFleet, words: list[str], said: str) -> None:
    done = here(*words)
    assert done.code == 2 and said in done.err, done


async def test_a_group_can_be_configured_in_advance(fleet: Fleet) -> None:
    paris = Scope.group("paris")
    with pytest.raises(UsageProblem, match="no device is in such a group"):
        await fleet.config.set(paris, {"app.a.b": 1})
    made = await fleet.config.set(paris, {"app.a.b": 1}, force=True)
    assert (made.written, made.devices, made.online) == (True, 0, 0)


def test_without_await(hub: LiveFleet) -> None:
    scope = Scope.group("office")
    with Fleet.sync() as fleet:
        fleet.config.replace(scope, {})
        made = fleet.config.set(scope, {"app.a.b": 1, "app.a.c": 2}, note="sync")
        assert isinstance(made, Written) and fleet.config.read(scope).values == {"app": {"a": {"b": 1, "c": 2}}}
        fleet.config.unset(scope, ["app.a.c"])
        fleet.config.replace(scope, {"app": {"z": {"y": "x"}}})
        fleet.config.rollback(scope, made.revision)
        past = fleet.config.history(scope)
    assert [version.values for version in past[-4::3]] == [{"app": {"a": {"b": 1, "c": 2}}}] * 2


# ---- two at once, and who may not ------------------------------------------------------------------------------------------


async def test_two_operators_never_overwrite_each_other_unseen(hub: LiveFleet, fleet: Fleet, tmp_path: Path) -> None:
    scope = Scope.group("kitchen")
    start = await fleet.config.set(scope, {"app.race.a": 0, "app.race.b": 0})
    async with Fleet(url=hub.url, credentials=login_file(hub, tmp_path, "paul", "operator")) as paul:
        seen = await fleet.config.read(scope)
        await paul.config.set(scope, {"app.race.a": 1})
        with pytest.raises(Refused, match=r"paul changed app\.race\.a meanwhile \(20.*nothing was written|Nothing was written"):
            await fleet.config.set(scope, {"app.race.a": 2}, base=seen)
        with pytest.raises(Refused, match=r"paul changed app\.race\.a meanwhile"):
            await fleet.config.set(scope, {"app.race": {}}, base=seen)
        with pytest.raises(Refused, match=r"paul changed app\.race\.a meanwhile"):
            await fleet.config.replace(scope, {}, base=seen)
        with pytest.raises(Refused, match=r"the newest is revision \d+ by paul"):
            await fleet.config.set(scope, {"app.race.c": 2}, revision=start.revision)
        assert (await fleet.config.read(scope)).values["app"]["race"] == {"a": 1, "b": 0}

        # Another key is not in the way, and the other's change stays.
        made = await fleet.config.set(scope, {"app.race.b": 5}, base=seen)
        assert made.changes == {"app.race.b": (0, 5)}
        assert (await paul.config.read(scope)).values["app"]["race"] == {"a": 1, "b": 5}

        # However many write at once, nothing gets lost.
        await asyncio.gather(
            fleet.config.set(scope, {"app.race.c": 1}),
            paul.config.set(scope, {"app.race.d": 2}),
            fleet.config.set(scope, {"app.race.e": 3}),
        )
        assert (await fleet.config.read(scope)).values["app"]["race"] == {"a": 1, "b": 5, "c": 1, "d": 2, "e": 3}


async def test_who_is_limited_to_groups_configures_only_these(hub: LiveFleet, tmp_path: Path) -> None:
    async with Fleet(url=hub.url, credentials=login_file(hub, tmp_path, "gus", "operator", "berlin", "paris")) as gus:
        made = await gus.config.set(BERLIN, {"app.gus.x": 1})
        assert made.written and (await gus.config.read(BERLIN)).by == "gus"
        assert (await gus.config.set(Scope.group("paris"), {"app.gus.x": 1})).written, "its own group needs no device yet"
        for scope in (FLEET_ALL, Scope.group("munich"), PI_01):
            with pytest.raises(UsageProblem, match="this login is limited to the groups berlin, paris"):
                await gus.config.set(scope, {"app.gus.x": 1})
        await applied(gus, BERLIN, made.generation)


@pytest.mark.parametrize("groups", [(), ("berlin",)], ids=["viewer", "group-viewer"])
async def test_a_viewer_reads_and_writes_nothing(hub: LiveFleet, fleet: Fleet, tmp_path: Path, groups: tuple[str, ...]) -> None:
    before = (await fleet.config.set(BERLIN, {"app.seen.x": 1})).revision
    async with Fleet(url=hub.url, credentials=login_file(hub, tmp_path, "vera", "viewer", *groups)) as vera:
        assert (await vera.config.read(BERLIN)).values["app"]["seen"] == {"x": 1} and await vera.config.history(BERLIN)
        with pytest.raises(Refused, match="the role of vera may not write configuration"):
            await vera.config.set(BERLIN, {"app.seen.x": 2})
    assert (await fleet.config.read(BERLIN)).revision == before


async def test_what_is_allowed_is_not_refused(fleet: Fleet) -> None:
    async def work() -> int:
        return 7

    assert await unless_forbidden(fleet.client, "x", work(), Refused("x", "y")) == 7


def test_an_editor_that_removes_the_file_is_no_surprise(hub: LiveFleet) -> None:
    good("set", "-g", "kitchen", "app.lamp.on=true")
    gone = here("edit", "-g", "kitchen", env={"EDITOR": "rm"})
    assert gone.code == 1 and "cannot read" in gone.err and "Your text is in" not in gone.out


async def test_there_must_be_something_to_go_back_to(fleet: Fleet) -> None:
    scope = Scope.group("once")
    with pytest.raises(Failed, match="there is no older one"):
        await fleet.config.rollback(scope)
    await fleet.config.set(scope, {"app.a.b": 1}, force=True)
    with pytest.raises(Failed, match="there is no older one"):
        await fleet.config.rollback(scope)


# ---- who follows what ------------------------------------------------------------------------------------------------------


async def test_set_waits_for_the_devices_of_its_scope(hub: LiveFleet, fleet: Fleet) -> None:
    said = ok("set", "--fleet", "app.waited.x=1", "--wait")
    assert "all 2 devices that are online have applied it" in said.err
    generation = (await fleet.config.read(FLEET_ALL)).generation
    rows = {row["id"]: row for row in await soon("status")}
    assert set(rows) >= {"pi-01", "pi-02"}
    for device in ("pi-01", "pi-02"):
        assert set(rows[device]) == {"id", "state", "desired", "applied", "error", "since", "scopes", "restart"}
        assert rows[device]["desired"] == rows[device]["applied"] >= generation and rows[device]["error"] is None
        assert rows[device]["scopes"]["fleet.all"]["applied"] == generation
    table = (await asyncio.to_thread(good, "status", "-d", "pi-01")).splitlines()
    assert table[0].split() == ["ID", "STATE", "DESIRED", "APPLIED", "SINCE", "RESTART", "ERROR"] and len(table) == 2


async def test_effective_says_from_which_layer_each_value_is(hub: LiveFleet, fleet: Fleet) -> None:
    await fleet.config.set(FLEET_ALL, {"app.layers.x": "fleet", "app.layers.y": "fleet"})
    await fleet.config.set(BERLIN, {"app.layers.y": "group"})
    made = await fleet.config.set(PI_01, {"leaf.ping_seconds": 44, "app.layers.z": "device"})
    await applied(fleet, PI_01, made.generation)

    async def reported() -> bool:
        return bool((await soon("effective", "pi-01"))["app.layers.y"]["applied"] == "group")

    await until(reported, "the device reported it")
    found = await soon("effective", "pi-01")
    assert {name: found[f"app.layers.{name}"]["layer"] for name in "xyz"} == {
        "x": "fleet.all",
        "y": "group.berlin",
        "z": "device.pi-01",
    }
    assert found["leaf.ping_seconds"] == {"value": 44, "layer": "device.pi-01", "applied": 44, "restart": True}
    assert found["query.burst"]["layer"] == "default" and found["device.labels.site"]["layer"] == "agent.toml"
    table = await asyncio.to_thread(good, "effective", "pi-01", "--changed")
    assert "44 (from the next start)" in table and "query.burst" not in table


async def test_a_refusal_ends_the_waiting_at_once(fleet: Fleet) -> None:
    first = await fleet.config.set(Scope.group("munich"), {"app.refused.x": 1})
    await applied(fleet, Scope.group("munich"), first.generation)
    number = first.generation + 1
    genuine = json.loads(await envelope_of(fleet, Scope.group("munich")))
    await raw(fleet, Scope.group("munich"), json.dumps({**genuine, "number": number}).encode())
    said = cli("config", "status", "-g", "munich", "--wait", "--json", timeout=PATIENCE_SECONDS)
    assert said.code == 3 and "pi-02 does not follow it" in said.err and "signature" in said.err
    (row,) = json.loads(said.out)
    assert row["scopes"]["group.munich"]["desired"] == number and row["scopes"]["group.munich"]["applied"] == first.generation
    assert "signature" in row["error"] and row["since"]
    await fleet.config.set(Scope.group("munich"), {"app.refused.x": 2}, force=True)
    assert ok("status", "-g", "munich", "--wait").code == 0


async def test_who_is_late_is_named_and_who_is_away_is_not_waited_for(hub: LiveFleet, fleet: Fleet) -> None:
    await registered(hub, "pi-90", "slow")
    await registered(hub, "pi-91", "asleep")
    async with inside(hub) as client:
        beat = wire.encode(wire.Heartbeat(heartbeat_seconds=3600))
        await published(client, subjects.heartbeat("pi-90"), beat)
    late = cli("config", "set", "-g", "slow", "app.late.x=1", "--wait", "--timeout", "0.5")
    assert late.code == 4 and "pi-90 has not applied it within 0.5 s" in late.err
    asleep = ok("set", "-g", "asleep", "app.late.x=1", "--wait")
    assert "1 device follows it; it is not online now" in asleep.out and "not waited for: pi-91" in asleep.err
    rows = {row["id"]: row for row in await soon("status", "-g", "slow", "-g", "asleep")}
    assert (rows["pi-90"]["state"], rows["pi-90"]["applied"]) == ("online", None)
    assert (rows["pi-91"]["state"], rows["pi-91"]["applied"]) == ("never seen", None)
    table = (await asyncio.to_thread(good, "status", "-g", "asleep")).splitlines()[1].split("  ")
    assert "-" in [cell.strip() for cell in table]
    async with inside(hub) as client:
        report = wire.Report(id="pi-90", facts={}, heartbeat_seconds=3600)
        await published(client, subjects.report("pi-90"), wire.encode(report))
    assert (await soon("status", "-d", "pi-90"))[0]["applied"] is None, "an agent that knows of no configuration"


async def test_whom_the_change_takes_away_is_waited_for(hub: LiveFleet, fleet: Fleet) -> None:
    await registered(hub, "pi-95", "vanishing")
    async with inside(hub) as client:
        await published(client, subjects.heartbeat("pi-95"), wire.encode(wire.Heartbeat(heartbeat_seconds=3600)))

        async def gone() -> None:
            """As the hub writes it when the server tells it that the device's connection ended."""
            presence = wire.Presence(online=False, since=rfc3339(datetime.now(timezone.utc)), reason="Stale Connection")
            await published(client, subjects.kv("edge_presence", "pi-95"), wire.encode(presence))

        waiting = start_cli("config", "set", "-g", "vanishing", "app.gone.x=1", "--wait", "--timeout", "4")
        try:
            assert waiting.stderr and "0 of 1 devices have applied it" in await asyncio.to_thread(waiting.stderr.readline)
            await gone()
        finally:
            _, said = await asyncio.to_thread(waiting.communicate, timeout=PATIENCE_SECONDS)
    assert waiting.returncode == 4 and "pi-95 was online when it began, has not applied it within 4 s" in said, said


async def test_whom_somebody_forgets_is_waited_for_no_longer(hub: LiveFleet, fleet: Fleet) -> None:
    asked: list[list[str]] = []

    def ids(roster: Roster) -> list[str]:
        asked.append(list(roster.devices))
        return ["pi-01", "never-was"]

    steps = progress(fleet.client, ids)
    try:
        assert [row.id for row in await steps.__anext__()] == ["pi-01"] and "never-was" not in asked[0]
    finally:
        await steps.aclose()


# ---- watching --------------------------------------------------------------------------------------------------------------


async def test_changes_are_seen_as_they_happen(fleet: Fleet, hub: LiveFleet, tmp_path: Path) -> None:
    seen: list[DocumentChange | DeviceChange] = []
    ready = asyncio.Event()

    async def look(client: Client) -> None:
        async for change in watch(client, ready.set):
            seen.append(change)

    task = asyncio.create_task(look(fleet.client))
    try:
        await asyncio.wait_for(ready.wait(), PATIENCE_SECONDS)
        made = await fleet.config.set(BERLIN, {"app.watched.x": 1}, note="look")
        documents = lambda: [item for item in seen if isinstance(item, DocumentChange)]  # noqa: E731  # only here
        devices = lambda: [item for item in seen if isinstance(item, DeviceChange)]  # noqa: E731  # only here
        await until(lambda: bool(documents()) and bool(devices()), "both are seen")
        (document,) = documents()
        assert (document.version.revision, document.version.by, document.version.note) == (made.revision, CONTEXT_USER, "look")
        assert document.changes == {"app.watched.x": (None, 1)}
        told = devices()[0]
        assert (told.id, told.scope, told.generation, told.error) == ("pi-01", "group.berlin", made.generation, "")
        await raw(fleet, BERLIN, b"rubbish")
        await until(lambda: any(item.error for item in devices()), "the refusal is seen")
        await until(lambda: bool(documents()[-1].version.problem), "the rubbish is seen")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_device_speaks_for_itself_alone(hub: LiveFleet, fleet: Fleet) -> None:
    await registered(hub, "pi-92")
    lie = wire.Report(id="pi-01", facts={}, config=wire.ConfigState(scopes={"fleet.all": wire.ScopeState(1, 1)}))
    async with Reports(fleet.client) as reports, inside(hub) as client:
        heard: list[tuple[str, str]] = []

        async def told() -> bool:
            heard.extend((device, report.id) for _, device, report in reports.taken())
            return ("pi-92", "pi-01") in heard

        await published(client, subjects.report("pi-92"), wire.encode(lie))
        await until(told, "the report is heard")
    assert ("pi-01", "pi-01") not in [pair for pair in heard if pair[0] == "pi-92"]


async def test_the_watch_on_the_command_line(hub: LiveFleet, fleet: Fleet) -> None:
    process = start_cli("config", "watch", "--json")
    try:
        assert process.stderr and "watching" in await asyncio.to_thread(process.stderr.readline)
        made = await fleet.config.set(Scope.group("office"), {"app.told.x": [1]})
        assert process.stdout
        lines = []
        while len({line["what"] for line in lines}) < 2:
            line = json.loads(await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), PATIENCE_SECONDS))
            if line["scope"] == "group.office":
                lines.append(line)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_SECONDS)
    document = next(line for line in lines if line["what"] == "document")
    device = next(line for line in lines if line["what"] == "applied")
    assert document["changed"] == {"app.told.x": [None, [1]]} and document["by"] == CONTEXT_USER
    assert (device["id"], device["generation"]) == ("pi-02", made.generation)


async def test_after_a_lost_link_everything_is_read_again(hub: LiveFleet, fleet: Fleet) -> None:
    await fleet.config.set(BERLIN, {"app.reread.x": 1}, force=True)
    bucket = Bucket(fleet.client)
    newest = await bucket.refresh()
    assert BERLIN in {version.scope for version in newest} and await bucket.refresh() == []
    made = await fleet.config.set(BERLIN, {"app.reread.x": 2})
    assert [version.revision for version in await bucket.refresh()] == [made.revision]
    assert [version.revision for version in bucket.documents[BERLIN]][-1] == made.revision
    fleet.client.stats["reconnects"] += 1
    assert await bucket.refresh() == [], "nothing is another one now"
    await fleet.config.set(BERLIN, {"app.reread.x": 3})
    fleet.client.stats["reconnects"] += 1
    (again,) = await bucket.refresh()
    assert isinstance(again, Version) and again.values["app"]["reread"] == {"x": 3}


async def test_progress_is_told_when_a_device_reports(fleet: Fleet) -> None:
    made = await fleet.config.set(BERLIN, {"app.progress.x": 1}, force=True)
    steps = progress(fleet.client, lambda roster: ["pi-01"], BERLIN)
    try:
        async for (row,) in steps:
            if row.applied == made.generation:
                break
    finally:
        await steps.aclose()
    assert [scope.scope for scope in row.scopes] == [BERLIN]
