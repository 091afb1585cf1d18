"""Operators see which devices follow what, wait for them, and watch what changes."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import datetime, timezone
from pathlib import Path

from edgeagent import subjects, wire
from edgeagent.fleet import Fleet
from edgeagent.fleet.configversion import Version
from edgeagent.fleet.configwatch import Bucket, DeviceChange, DocumentChange, Reports, progress, watch
from edgeagent.fleet.roster import Roster
from edgeagent.publish import published
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.times import rfc3339
from tests.support.administering import inside, registered
from tests.support.configcli import applied, envelope_of, fixtures, good, ok, raw, soon
from tests.support.fleet import CONTEXT_USER, PATIENCE_SECONDS, LiveFleet, cli, start_cli
from tests.support.servers import until

BERLIN, PI_01 = Scope.group("berlin"), Scope.device("pi-01")

running, hub, fleet = fixtures("followers", 2)


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


async def test_who_does_not_want_to_wait_any_more_is_told_how_to_go_on(hub: LiveFleet) -> None:
    await registered(hub, "pi-97", "tardy")
    async with inside(hub) as client:
        await published(client, subjects.heartbeat("pi-97"), wire.encode(wire.Heartbeat(heartbeat_seconds=3600)))
    again = "`edgeagent config status -g tardy --wait` waits for them again"
    for words in (["set", "-g", "tardy", "app.left.x=1"], ["status", "-g", "tardy"]):
        waiting = start_cli("config", *words, "--wait")
        try:
            assert waiting.stderr and "0 of 1 devices have applied it" in await asyncio.to_thread(waiting.stderr.readline)
        finally:
            waiting.send_signal(signal.SIGINT)
            _, said = await asyncio.to_thread(waiting.communicate, timeout=PATIENCE_SECONDS)
        assert waiting.returncode == 130 and again in said and "Traceback" not in said, said


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

    steps = progress(fleet, ids)
    try:
        assert [row.id for row in await steps.__anext__()] == ["pi-01"] and "never-was" not in asked[0]
    finally:
        await steps.aclose()


# ---- watching --------------------------------------------------------------------------------------------------------------


async def test_changes_are_seen_as_they_happen(fleet: Fleet, hub: LiveFleet, tmp_path: Path) -> None:
    seen: list[DocumentChange | DeviceChange] = []
    ready = asyncio.Event()

    async def look(fleet: Fleet) -> None:
        async for change in watch(fleet, ready.set):
            seen.append(change)

    task = asyncio.create_task(look(fleet))
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
    bucket = Bucket(fleet)
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
    steps = progress(fleet, lambda roster: ["pi-01"], BERLIN)
    try:
        async for (row,) in steps:
            if row.applied == made.generation:
                break
    finally:
        await steps.aclose()
    assert [scope.scope for scope in row.scopes] == [BERLIN]
