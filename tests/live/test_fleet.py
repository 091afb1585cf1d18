"""What the operator sees of three devices: who is there, who is not and since when, and every form in which it is printed."""

from __future__ import annotations

import csv
import io
import json
import signal

import pytest

from edgeagent import __version__
from edgeagent.fleet import Fleet, State
from edgeagent.times import parse_rfc3339
from tests.support.fleet import PATIENCE_SECONDS, LiveFleet, cli, everybody_answered, offline, online, start_cli

ALL = ["pi-01", "pi-02", "pi-03"]
OTHERS = ["pi-01", "pi-03"]


@pytest.fixture
def without_pi_02(fleet: LiveFleet) -> LiveFleet:
    """The fleet with one cable pulled, and the hub knows. ``fleet`` plugs it in again for the next test."""
    fleet.cut_and_known("pi-02")
    return fleet


async def test_three_devices_are_online_with_facts(fleet: LiveFleet) -> None:
    async with Fleet() as operator:
        outcome = await operator.query(select=["labels.site", "versions.agent", "memory"], timeout=PATIENCE_SECONDS)
    assert online(outcome) == ALL and everybody_answered(outcome)
    assert [row.facts["labels"]["site"] for row in outcome.answered if row.facts] == ["berlin", "munich", "hamburg"]
    for row in outcome.answered:
        assert row.state is State.ONLINE and row.round_trip_ms is not None and row.facts
        assert row.facts["versions"] == {"agent": __version__}
        assert 0 < row.facts["memory"]["utilization"] < 1


async def test_a_cut_device_is_offline_with_its_last_report(without_pi_02: LiveFleet) -> None:
    async with Fleet() as operator:
        outcome = await operator.query(select=["labels.site", "uptime_seconds"], timeout=PATIENCE_SECONDS)
    assert online(outcome) == OTHERS and offline(outcome) == ["pi-02"]
    (row,) = outcome.offline
    assert row.state is State.OFFLINE and row.facts == {"labels": {"site": "munich"}}
    assert row.last_seen and row.since and row.as_of and outcome.hub_time
    assert row.as_of <= row.last_seen <= outcome.hub_time


async def test_a_device_known_to_be_cut_is_not_waited_for(without_pi_02: LiveFleet) -> None:
    async with Fleet() as operator:
        outcome = await operator.query(timeout=PATIENCE_SECONDS)
    assert (online(outcome), outcome.waited_for, outcome.silent) == (OTHERS, [], [])
    assert offline(outcome) == ["pi-02"] and outcome.elapsed_seconds < PATIENCE_SECONDS / 2


def test_ls_never_drops_a_device(without_pi_02: LiveFleet) -> None:
    for more in ([], ["--cached"]):
        said = cli("fleet", "ls", *more)
        lines = [line.split() for line in said.out.splitlines()]
        assert said.code == 0 and lines[0][:3] == ["ID", "STATE", "SITE"]
        assert [line[:3] for line in lines[1:]] == [
            ["pi-01", "online", "berlin"],
            ["pi-02", "offline", "munich"],
            ["pi-03", "online", "hamburg"],
        ]
        assert said.err.startswith(f"2 {'by their last reports' if more else 'answered'} · 1 not online"), said.err
    # Neither is it an error: nobody who was expected to answer stayed silent.
    assert cli("fleet", "ls", "--strict").code == 0


def test_ls_as_json_tells_when_a_device_was_last_seen(without_pi_02: LiveFleet) -> None:
    devices = {device["id"]: device for device in json.loads(cli("fleet", "ls", "--json").out)}
    assert list(devices) == ALL
    gone = devices["pi-02"]
    assert gone["state"] == "offline" and gone["site"] == "munich" and gone["uptime"] is None
    assert parse_rfc3339(gone["last_seen"]) <= parse_rfc3339(devices["pi-01"]["last_seen"])
    assert parse_rfc3339(gone["since"]) <= parse_rfc3339(gone["last_seen"])


def test_ls_has_every_form(fleet: LiveFleet) -> None:
    forms = {form: cli("fleet", "ls", "-o", form) for form in ("table", "wide", "json", "ndjson", "csv", "name")}
    assert {said.code for said in forms.values()} == {0}
    assert forms["name"].out.split() == ALL
    listed = json.loads(forms["json"].out)
    assert [device["id"] for device in listed] == ALL and listed[0]["labels"] == {"site": "berlin", "floor": "1"}
    lines = [json.loads(line) for line in forms["ndjson"].out.splitlines()]
    assert [line.keys() for line in lines] == [device.keys() for device in listed]
    rows = list(csv.DictReader(io.StringIO(forms["csv"].out)))
    assert [row["id"] for row in rows] == ALL and json.loads(rows[0]["groups"]) == ["berlin", "kitchen"]
    assert "ARCHITECTURE" in forms["wide"].out and "ARCHITECTURE" not in forms["table"].out
    # Only what a person reads has a summary, and it does not mix with the data.
    assert {form for form, said in forms.items() if "3 answered" in said.err} == {"table", "wide"}


def test_ls_shows_labels_and_sorts(fleet: LiveFleet) -> None:
    said = cli("fleet", "ls", "-L", "floor", "--sort", "-site", "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert [(row["id"], row["floor"]) for row in rows] == [("pi-02", ""), ("pi-03", "3"), ("pi-01", "1")]


def test_ls_streams(fleet: LiveFleet) -> None:
    said = cli("fleet", "ls", "--stream", "-o", "ndjson")
    assert sorted(json.loads(line)["id"] for line in said.out.splitlines()) == ALL


def test_get_shows_facts_of_every_device(fleet: LiveFleet) -> None:
    said = cli("fleet", "get", "labels.site", "cpu.count")
    assert said.code == 0
    assert [line.split()[:3] for line in said.out.splitlines()] == [
        ["ID", "STATE", "LABELS.SITE"],
        ["pi-01", "online", "berlin"],
        ["pi-02", "online", "munich"],
        ["pi-03", "online", "hamburg"],
    ]


def test_fields_lists_what_can_be_asked_for(fleet: LiveFleet) -> None:
    fields = {field["id"]: field for field in json.loads(cli("fleet", "fields", "--json").out)}
    assert fields["memory.utilization"]["type"] == "double" and fields["memory.utilization"]["read"] == "when asked"
    assert fields["kernel"]["read"] == "reported"
    assert fields["labels.floor"]["description"] == "reported by devices", "a label is known because devices report it"


def test_ping_measures_every_device(fleet: LiveFleet) -> None:
    found = json.loads(cli("fleet", "ping", "--json").out)
    assert [device["id"] for device in found["devices"]] == ALL
    assert 0 < found["min_ms"] <= found["median_ms"] <= found["p99_ms"]
    assert {found["min_ms"], found["p99_ms"]} <= {device["round_trip_ms"] for device in found["devices"]}
    table = cli("fleet", "ping", "-d", "pi-02")
    assert "pi-02" in table.out and "median" in table.err and "p99" in table.err


def test_ping_shows_who_is_away(without_pi_02: LiveFleet) -> None:
    devices = {device["id"]: device for device in json.loads(cli("fleet", "ping", "--json").out)["devices"]}
    assert devices["pi-02"] == {"id": "pi-02", "state": "offline", "round_trip_ms": None}


async def test_watch_sees_a_device_go_and_come_back(fleet: LiveFleet) -> None:
    async with Fleet() as operator:
        changes = operator.watch(ready=lambda: fleet.cut("pi-02"))
        seen = []
        async for change in changes:
            if change.id == "pi-02" and change.what in ("online", "offline"):
                seen.append(change.what)
                fleet.restore("pi-02")
            if "online" in seen:
                break
        await changes.aclose()
    assert seen == ["offline", "online"]


def test_watch_on_the_command_line_ends_with_ctrl_c(fleet: LiveFleet) -> None:
    watching = start_cli("fleet", "watch", "--json")
    try:
        assert watching.stderr and watching.stdout
        assert "Ctrl-C" in watching.stderr.readline()
        fleet.cut("pi-02")
        for line in watching.stdout:
            change = json.loads(line)
            if change["id"] == "pi-02" and change["what"] == "offline":
                assert parse_rfc3339(change["time"])
                break
        watching.send_signal(signal.SIGINT)
        rest = watching.communicate(timeout=PATIENCE_SECONDS)
    finally:
        watching.kill()
    assert (watching.returncode, rest[1]) == (130, "")


def test_a_closed_pipe_is_no_error(fleet: LiveFleet) -> None:
    listing = start_cli("fleet", "ls")
    assert listing.stdout and listing.stderr
    listing.stdout.close()
    assert "Traceback" not in listing.stderr.read()
    listing.wait(PATIENCE_SECONDS)
    listing.stderr.close()


def test_the_same_without_await(fleet: LiveFleet) -> None:
    with Fleet.sync() as operator:
        assert online(operator.query()) == ALL
        assert online(operator.ping(devices=["pi-03"])) == ["pi-03"]
        assert "memory.utilization" in {field.name for field in operator.fields()}
        assert set(operator.roster().devices) == set(ALL)
        for change in operator.watch(ready=lambda: fleet.cut("pi-01")):
            if (change.id, change.what) == ("pi-01", "offline"):
                break


def test_credentials_can_be_named_instead_of_a_context(fleet: LiveFleet) -> None:
    with Fleet.sync(url=fleet.url, credentials=fleet.credentials) as operator:
        assert online(operator.query()) == ALL


def test_the_context_can_be_named(fleet: LiveFleet) -> None:
    from_option = cli("fleet", "ls", "-o", "name", "--context", "demo", env={"EDGEAGENT_CONTEXT": "nowhere"})
    assert from_option.out.split() == ALL
    from_environment = cli("fleet", "ls", "-o", "name", env={"EDGEAGENT_CONTEXT": "nowhere"})
    assert from_environment.code == 2 and "nowhere" in from_environment.err
