"""Operators command a fleet: entries in logs, who may not, two at once, rubbish in the log, results, cancelling, retrying, the audit.

Most devices here are only logins: what they would say is published for them. The last test has a real one.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import pwd
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from edgeagent import files, subjects, wire
from edgeagent.administration import AUDIT, AuditPage, ReadAudit
from edgeagent.command import CANCEL, Entry, Result, entry_of, new_id
from edgeagent.direct import get_last, read_all
from edgeagent.enrolled import TRUST_FILE
from edgeagent.errors import Refused, UsageProblem
from edgeagent.fleet import Fleet, commandlogs
from edgeagent.fleet.admin import Admin
from edgeagent.fleet.audit import read as read_audit
from edgeagent.fleet.commandlogs import append
from edgeagent.fleet.commandorder import Order
from edgeagent.fleet.commandrun import Running
from edgeagent.fleet.commandtargets import Aim
from edgeagent.fleet.commandwatch import Results
from edgeagent.hub.audit import PAGE_BYTES
from edgeagent.hub.roles import PersonRole
from edgeagent.publish import published
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import check
from tests.support.administering import inside, registered
from tests.support.fleet import CONTEXT_USER, PATIENCE_SECONDS, Device, LiveFleet, cli, start_cli
from tests.support.servers import until
from tests.support.typed import typed

BERLIN = Scope.group("berlin")
STREAM = "EDGE_COMMANDS"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    """A hub with no device that runs: pi-01 and pi-02 in berlin, pi-03 in munich; pi-01 is online for an hour, by its own word."""
    with LiveFleet(tmp_path_factory.mktemp("commands"), 0) as fleet, fleet.borrowed():
        asyncio.run(_fill(fleet))
        yield fleet


async def _fill(hub: LiveFleet) -> None:
    for device, group, site in (("pi-01", "berlin", "north"), ("pi-02", "berlin", "south"), ("pi-03", "munich", "north")):
        await registered(hub, device, group)
        async with inside(hub) as client:
            report = wire.Report(
                id=device, facts={"id": device, "labels": {"site": site}, "cpu": {"count": 4}}, heartbeat_seconds=3600
            )
            if device != "pi-02":
                await published(client, subjects.report(device), wire.encode(report))


@pytest_asyncio.fixture
async def fleet(hub: LiveFleet) -> AsyncIterator[Fleet]:
    """The demo's operator, who is an administrator."""
    async with Fleet() as opened:
        yield opened


def opened(
    hub: LiveFleet, folder: Path, name: str, role: PersonRole = "operator", *groups: str, actions: tuple[str, ...] = ()
) -> Fleet:
    path = folder / f"{name}.creds"
    path.touch(0o600)
    path.write_text(hub.owner.operator_credentials(name, role, groups=groups, actions=actions).format())
    return Fleet(url=hub.url, credentials=path)


async def say(hub: LiveFleet, device: str, command: str, state: str, **more: Any) -> None:
    """What the device would say of the command."""
    result = wire.encode(Result(id=command, state=state, **more))  # type: ignore[arg-type]
    async with inside(hub) as client:
        await published(client, subjects.result(device, command), result)


async def log_of(fleet: Fleet, scope: Scope) -> list[tuple[int, bytes]]:
    """The entries of a log by number."""
    found = [item async for item in read_all(fleet.client, STREAM, subjects.command_log(scope))]
    return sorted(
        (int(item.subject.rpartition(".")[2]), item.data) for item in found if item.subject.rpartition(".")[2].isdigit()
    )


async def stored(fleet: Fleet) -> int:
    """How many entries there are in all."""
    return len([item async for item in read_all(fleet.client, STREAM, "edge.to.*.*.cmd.*")])


def pinned(login: Credentials, role: str = "operator") -> Pins:
    return Pins(signers={str(jwt.claims(login.jwt)["iss"]): role})


# ---- sending ---------------------------------------------------------------------------------------------------------------


async def test_a_command_is_an_entry_that_devices_can_follow(fleet: Fleet) -> None:
    before = await log_of(fleet, BERLIN)
    running = await fleet.commands.run(
        "service.restart", {"unit": "nginx"}, groups=["berlin"], labels=["site=north"], splay_seconds=60, note="leaks"
    )
    (number, data) = (await log_of(fleet, BERLIN))[-1]
    assert number == len(before) + 1
    signature = check(data, kind="command", scope=BERLIN, pins=pinned(fleet.login, "admin"))
    entry = entry_of(signature.body)
    assert (signature.number, signature.signer) == (number, CONTEXT_USER)
    assert (entry.id, entry.action, entry.args) == (running.id, "service.restart", {"unit": "nginx"})
    assert (entry.target.labels, entry.splay_seconds, entry.note) == ({"site": "north"}, 60.0, "leaks")
    assert entry.log and 1 <= entry.floor <= number and abs(entry.not_after - time.time() - 3600) < 60
    assert [known.id for known in running.meant.sure] == ["pi-01"]


async def test_it_goes_into_the_logs_of_those_who_are_named(fleet: Fleet) -> None:
    running = await fleet.commands.run("ping", devices=["pi-01", "pi-03"], groups=["berlin"])
    for scope in (BERLIN, Scope.device("pi-01"), Scope.device("pi-03")):
        _, data = (await log_of(fleet, scope))[-1]
        entry = entry_of(check(data, kind="command", scope=scope, pins=pinned(fleet.login, "admin")).body)
        assert entry.id == running.id and entry.target.devices == []
    found = await fleet.commands.get(running.id.lower())
    assert set(found.command.scopes) == set(running.command.scopes) and sorted(await found.results()) == [
        "pi-01",
        "pi-02",
        "pi-03",
    ]
    everybody = await fleet.commands.run("ping", everybody=True)
    assert everybody.command.scopes == (FLEET_ALL,) and len(await everybody.results()) == 3


async def test_many_senders_take_each_number_once(hub: LiveFleet, fleet: Fleet, tmp_path: Path) -> None:
    scope = Scope.device("pi-02")
    before = len(await log_of(fleet, scope))
    async with opened(hub, tmp_path, "paul") as paul:
        sent = await asyncio.gather(*(each.commands.run("ping", devices=["pi-02"]) for each in [fleet, paul] * 8))
    entries = (await log_of(fleet, scope))[before:]
    assert [number for number, _ in entries] == list(range(before + 1, before + 17)), "no gap, and none twice"
    bodies = [entry_of(json.loads(data)["body"].encode()) for _, data in entries]
    assert {body.id for body in bodies} == {running.id for running in sent} and len({body.log for body in bodies}) == 1


async def test_the_floor_follows_what_has_expired(fleet: Fleet) -> None:
    scope, now = Scope.group("floors"), int(time.time())

    async def put(not_after: int) -> Entry:
        await append(
            fleet.client,
            fleet.login,
            scope,
            Entry(id=new_id(now, fleet.login.public_key), action="ping", log="", floor=0, not_after=not_after),
        )
        return entry_of(json.loads((await log_of(fleet, scope))[-1][1])["body"].encode())

    first = await put(now - 1)
    assert first.floor == 1
    floors = [(await put(now - 1)).floor for _ in range(6)]
    assert floors == [2, 3, 4, 5, 6, 7]
    assert (await put(now + 600)).floor == 8 and (await put(now + 600)).floor == 8, "a command that may still run stays above it"


async def test_rubbish_in_a_log_stops_nobody(hub: LiveFleet, fleet: Fleet) -> None:
    scope = Scope.group("rubbish")
    good = Entry(id=new_id(time.time(), fleet.login.public_key), action="ping", log="", floor=0, not_after=int(time.time()) + 600)
    assert await append(fleet.client, fleet.login, scope, good) == 1
    log = entry_of(json.loads((await log_of(fleet, scope))[0][1])["body"].encode()).log
    genuine = await get_last(fleet.client, STREAM, subjects.command_log(scope))
    assert genuine is not None
    await published(fleet.client, subjects.command_log(scope, 2), b"rubbish")
    await published(fleet.client, subjects.command_log(scope, 3), genuine.data)
    await published(fleet.client, subjects.command_log(scope, "x"), b"")
    assert await append(fleet.client, fleet.login, scope, good) == 4
    body = entry_of(json.loads((await log_of(fleet, scope))[-1][1])["body"].encode())
    assert (body.log, body.floor) == (log, 1), "the log goes on"
    for unsigned in ("y", 1):
        await published(fleet.client, subjects.command_log(Scope.group("only-rubbish"), unsigned), b"")
    assert await append(fleet.client, fleet.login, Scope.group("only-rubbish"), good) == 2
    assert all(command.id != "" for command in await fleet.commands.recent(500))


# ---- what cannot be meant, and who may not ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ping"], "no device is named"),
        (["ping", "--all", "-g", "berlin"], "everybody and a selection are named"),
        (["pong", "--all"], "there is no such action. Did you mean 'ping'?"),
        (["ping", "x=1", "--all"], "it takes no 'x'"),
        (["logs", "lines=many", "--all"], "it needs 'unit'"),
        (["service.stop", "unit", "--all"], "no key=value"),
        (["ping", "-d", "pi-1"], "Did you mean 'pi-0"),
        (["ping", "-g", "berln"], "Did you mean 'berlin'"),
        (["ping", "-l", "site"], "a label is written key=value"),
        (["ping", "-l", "site=north", "-l", "site=south"], "cannot be both"),
        (["ping", "--where", "cpu.coount > 2"], "cpu.coount"),
        (["ping", "--where", "cpu.count >"], "filter"),
        (["ping", "-g", "munich", "-l", "site=west"], "no device that the hub knows is meant"),
        (["ping", "--all", "--expires", "2h"], "1h at most"),
        (["ping", "--all", "--splay", "1m"], "does not fit into the 30s"),
        (["ping", "--all", "--max", "2"], "3 devices would be hit, and no more than 2 may be. Select fewer"),
        (["exec", 'argv=["x"]', "--all"], "nobody is there to confirm it"),
        (["app.doors.open", f"x={'y' * 200_000}", "--all"], "196,608 fit"),
        (["reboot", "-d", "PI"], "is no device id"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
async def test_what_cannot_be_meant_is_said_before_anything_is_written(fleet: Fleet, words: list[str], said: str) -> None:
    before = await stored(fleet)
    done = await typed("cmd", "run", *words)
    assert done.code == 2 and said in done.err, done
    assert await stored(fleet) == before


@pytest.mark.parametrize("groups", [(), ("berlin",)], ids=["viewer", "group-viewer"])
async def test_a_viewer_looks_and_commands_nothing(hub: LiveFleet, fleet: Fleet, tmp_path: Path, groups: tuple[str, ...]) -> None:
    running = await fleet.commands.run("ping", groups=["berlin"])
    before = await stored(fleet)
    async with opened(hub, tmp_path, "vera", "viewer", *groups) as vera:
        assert (await vera.commands.get(running.id)).command.by == CONTEXT_USER and await vera.commands.recent()
        for work in (vera.commands.run("ping", groups=["berlin"]), vera.commands.cancel(running.id)):
            with pytest.raises(Refused, match="vera may look, but not command the group berlin"):
                await work
    assert await stored(fleet) == before


async def test_who_is_limited_commands_only_that(hub: LiveFleet, fleet: Fleet, tmp_path: Path) -> None:
    before = await stored(fleet)
    async with opened(hub, tmp_path, "gus", "operator", "berlin", actions=("service.*", "ping")) as gus:
        for wrong, said in (
            ({"groups": ["munich"]}, "limited to the groups berlin"),
            ({"devices": ["pi-03"]}, "it is in none of them"),
            ({"devices": ["pi-01"], "groups": ["berlin"]}, "send two commands"),
        ):
            with pytest.raises(UsageProblem, match=said):
                await gus.commands.prepare("ping", **wrong)  # type: ignore[arg-type]
        with pytest.raises(UsageProblem, match=r"gus may only ask for service\.\*, ping, not for reboot"):
            await gus.commands.run("reboot", everybody=True)
        other = await fleet.commands.prepare("reboot", groups=["berlin"])
        sent = await fleet.commands.send(other)
        with pytest.raises(UsageProblem, match="may only ask for"):
            await gus.commands.cancel(sent.id)
        assert await stored(fleet) == before + 1
        mine = await gus.commands.run("ping", devices=["pi-01"])
        assert (
            mine.command.scopes == (BERLIN,)
            and mine.command.target.devices == ["pi-01"]
            and list(await mine.results()) == ["pi-01"]
        )
        everybody = await gus.commands.run("ping", everybody=True)
        assert sorted(await everybody.results()) == ["pi-01", "pi-02"], "all of its groups"
        data = (await log_of(fleet, BERLIN))[-1][1]
        assert check(data, kind="command", scope=BERLIN, pins=pinned(gus.login, "group-operator")).groups == ("berlin",)


async def test_a_clock_that_is_wrong_is_said(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    before, now = await stored(fleet), time.time
    monkeypatch.setattr(time, "time", lambda: now() - 200)
    with pytest.raises(Refused, match=r"this machine's clock is 3m 20s behind the hub's"):
        await fleet.commands.run("ping", everybody=True)
    assert (await fleet.commands.prepare("exec", {"argv": ["x"]}, everybody=True, expires_seconds=86_400)).id, (
        "that does not matter in a day"
    )
    assert await stored(fleet) == before


# ---- whom it hits ----------------------------------------------------------------------------------------------------------


async def test_whom_it_hits_is_told_by_reports(fleet: Fleet) -> None:
    async def hit(**who: Any) -> tuple[list[str], list[str], int]:
        order: Order = await fleet.commands.prepare("ping", **who)
        return [known.id for known in order.meant.sure], [known.id for known in order.meant.unsure], order.online

    assert await hit(everybody=True) == (["pi-01", "pi-02", "pi-03"], [], 2)
    assert await hit(labels=["site=north"]) == (["pi-01", "pi-03"], ["pi-02"], 2), "pi-02 never reported"
    assert await hit(groups=["munich"], where="cpu.count > 2") == (["pi-03"], [], 1)
    assert await hit(groups=["munich"], where="temperature_celsius > 60.0") == ([], ["pi-03"], 1), "no report has that"
    aim = Aim(scopes=(FLEET_ALL,))
    assert aim.target.where == "" and (await typed("cmd", "run", "ping", "--all", "--dry-run")).code == 0
    rows = json.loads((await typed("cmd", "run", "reboot", "-g", "berlin", "--dry-run", "--json")).out)
    assert [(row["id"], row["state"]) for row in rows["devices"]] == [("pi-01", "online"), ("pi-02", "never seen")]


# ---- results ---------------------------------------------------------------------------------------------------------------


async def test_waiting_ends_when_the_last_device_has_ended(hub: LiveFleet, fleet: Fleet) -> None:
    running: Running = await fleet.commands.run("ping", groups=["berlin"])
    seen: list[dict[str, str]] = []

    async def watch() -> None:
        async for rows in running.progress(PATIENCE_SECONDS):
            seen.append({row.id: row.state for row in rows})

    task = asyncio.create_task(watch())
    await until(lambda: bool(seen), "it is watched")
    await say(hub, "pi-01", running.id, "running")
    await until(lambda: seen[-1]["pi-01"] == "running", "it runs")
    await say(hub, "pi-01", running.id, "succeeded", value={"pong": True})
    await say(hub, "pi-03", running.id, "succeeded")
    assert not task.done()
    await say(hub, "pi-02", running.id, "failed", reason="it burns", exit_code=1)
    await asyncio.wait_for(task, PATIENCE_SECONDS)
    assert seen[-1] == {"pi-01": "succeeded", "pi-02": "failed", "pi-03": "succeeded"}, "also who was not expected"
    rows = await running.wait(0.0)
    assert rows["pi-01"].result.value == {"pong": True} and not rows["pi-03"].expected


@pytest.mark.parametrize(
    ("states", "code"),
    [(["succeeded", "succeeded"], 0), (["succeeded", "failed"], 3), (["succeeded", None], 4)],
    ids=["0", "3", "4"],
)
async def test_the_exit_code_of_wait(hub: LiveFleet, fleet: Fleet, states: list[str | None], code: int) -> None:
    running = await fleet.commands.run("exec", {"argv": ["x"]}, groups=["berlin"])
    for device, state in zip(("pi-01", "pi-02"), states, strict=True):
        if state:
            await say(hub, device, running.id, state, output="a\n\x1b[2Jb\n", output_bytes=8, exit_code=0)
    done = await typed("cmd", "show", running.id, "--wait", "--timeout", "0.3", "--json")
    assert done.code == code
    found = json.loads(done.out)
    assert found["id"] == running.id and found["until"] and set(found["devices"]) == {"pi-01", "pi-02"}
    assert found["devices"]["pi-01"]["state"] == "succeeded" and found["devices"]["pi-01"]["output"] == "a\n\x1b[2Jb\n"
    assert found["devices"]["pi-02"]["state"] == (states[1] or "waiting")
    table = await typed("cmd", "show", running.id)
    assert table.code == 0 and "\x1b" not in table.out and "for -g berlin" in table.out and f"by {CONTEXT_USER}" in table.out
    output = await typed("cmd", "show", running.id, "--output-of", "pi-01")
    assert output.out == "a\n\ufffd[2Jb\n"


async def test_exec_prints_lines_with_their_device_as_they_come(hub: LiveFleet, fleet: Fleet) -> None:
    words = ("exec", "-g", "berlin", "--yes", "--timeout", str(PATIENCE_SECONDS), "--", "/usr/bin/uptime", "-p")
    process = start_cli(*words)
    try:
        assert process.stderr and process.stdout
        command = (await asyncio.to_thread(process.stderr.readline)).split(":")[0]
        found = await fleet.commands.get(command)
        assert found.command.args == {"argv": ["/usr/bin/uptime", "-p"]}
        await say(hub, "pi-01", command, "running", output="up\t1 d\nmo", output_bytes=9)
        assert await asyncio.to_thread(process.stdout.readline) == "pi-01: up      1 d\n"
        await say(hub, "pi-01", command, "succeeded", output="up\t1 d\nmore\n", output_bytes=12, exit_code=0)
        assert await asyncio.to_thread(process.stdout.readline) == "pi-01: more\n"
        assert "waiting for pi-02, not online" in await asyncio.to_thread(process.stderr.readline)
        await say(hub, "pi-02", command, "failed", exit_code=2, reason="exit code 2")
        out, err = await asyncio.to_thread(process.communicate, timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (3, "") and "pi-02 failed with 2\n" in err


async def test_ctrl_c_only_stops_watching(fleet: Fleet) -> None:
    process = start_cli("cmd", "run", "ping", "-g", "berlin", "--wait")
    try:
        assert process.stderr
        command = (await asyncio.to_thread(process.stderr.readline)).split(":")[0]
        assert "2 waiting" in await asyncio.to_thread(process.stderr.readline)
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.to_thread(process.communicate, timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130 and f"`edgeagent cmd show {command}`" in err and "Traceback" not in err
    assert (await fleet.commands.get(command)).command.cancelled_by == ""


async def test_what_a_device_writes_is_bounded_to_itself(hub: LiveFleet, fleet: Fleet) -> None:
    running = await fleet.commands.run("ping", groups=["berlin"])
    async with Results(fleet.client, running.id) as results, inside(hub) as client:
        await published(client, subjects.result("pi-01", running.id), b"rubbish")
        await published(client, f"edge.from.*.result.{running.id}", wire.encode(Result(id=running.id, state="succeeded")))
        await published(client, subjects.result("pi-02", running.id), wire.encode(Result(id=running.id, state="succeeded")))
        await until(lambda: {answer.device for answer in results} == {"pi-01", "pi-02"}, "both are heard")
        assert results.answers["pi-01"].problem and results.answers["pi-02"].result is not None
    rows = await running.results()
    assert (rows["pi-01"].state, rows["pi-02"].state) == ("unknown", "succeeded") and set(rows) == {"pi-01", "pi-02"}


# ---- cancelling, retrying, listing -----------------------------------------------------------------------------------------


async def test_cancelling_is_an_entry_in_the_same_logs(hub: LiveFleet, fleet: Fleet) -> None:
    running = await fleet.commands.run("service.stop", {"unit": "nginx"}, devices=["pi-01", "pi-03"])
    assert f"{running.id}: whoever has not ended is told to" in (await typed("cmd", "cancel", running.id, "-m", "oops")).out
    for scope in (Scope.device("pi-01"), Scope.device("pi-03")):
        entry = entry_of(json.loads((await log_of(fleet, scope))[-1][1])["body"].encode())
        assert (entry.action, entry.args, entry.note) == (CANCEL, {"id": running.id}, "oops") and entry.id != running.id
        assert entry.not_after >= running.command.until, "whoever might still begin it hears of this"
    found = await fleet.commands.get(running.id)
    assert found.command.cancelled_by == CONTEXT_USER and found.command.cancelled is not None
    assert f"cancelled by {CONTEXT_USER}" in (await typed("cmd", "show", running.id)).out
    for wrong in ("x", "01ARZ3NDEKTSV4RRFFQ69G5FAV"):
        assert (await typed("cmd", "cancel", wrong)).code == 2


async def test_retrying_is_a_new_command_for_those_that_did_not_do_it(hub: LiveFleet, fleet: Fleet) -> None:
    first = await fleet.commands.run("service.start", {"unit": "nginx"}, everybody=True, expires_seconds=600)
    nothing = await typed("cmd", "retry", first.id, "--failed")
    assert nothing.code == 2 and "no device that is meant is" in nothing.err
    assert (await typed("cmd", "retry", first.id)).code == 2
    for device, state in (("pi-01", "succeeded"), ("pi-02", "failed"), ("pi-03", "unknown")):
        await say(hub, device, first.id, state)
    again = (await typed("cmd", "retry", first.id, "--failed", "--detach")).out.strip()
    command = (await fleet.commands.get(again)).command
    assert again != first.id and {scope.name for scope in command.scopes} == {"pi-02", "pi-03"}
    assert (command.action, command.args, command.note) == ("service.start", {"unit": "nginx"}, f"again: {first.id}")
    assert abs(command.until - command.at - 600) < 5


async def test_the_newest_commands_are_listed(hub: LiveFleet, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = [(await fleet.commands.run("ping", groups=["berlin"], note=str(number))).id for number in range(7)]
    await say(hub, "pi-01", sent[-1], "succeeded")
    monkeypatch.setattr(commandlogs, "WINDOW", 2)
    assert [command.id for command in await fleet.commands.recent(5)] == sent[:1:-1]
    assert (await fleet.commands.get(sent[0])).command.note == "0", "found however far back it is"
    rows = json.loads((await typed("cmd", "ls", "-n", "3", "--json")).out)
    assert [row["id"] for row in rows] == sent[:3:-1] and rows[0]["states"] == {"succeeded": 1, "waiting": 1}
    assert (rows[0]["by"], rows[0]["action"], rows[0]["to"]) == (CONTEXT_USER, "ping", "-g berlin")
    table = (await typed("cmd", "ls", "-n", "1")).out.splitlines()
    assert table[0].split()[:4] == ["ID", "TIME", "BY", "ACTION"] and len(table) == 2


def test_without_await(hub: LiveFleet) -> None:
    with Fleet.sync() as fleet:
        running = fleet.commands.run("ping", groups=["berlin"])
        assert {row.state for row in running.results().values()} == {"waiting"}
        assert {row.state for row in running.wait(0.05).values()} == {"waiting"}
        assert [{row.state for row in rows} for rows in running.progress(0.05)] == [{"waiting"}]
        again = fleet.commands.send(fleet.commands.prepare("ping", devices=["pi-01"]))
        assert fleet.commands.newest().id == again.id and fleet.commands.retries(again.command) == []
        with pytest.raises(UsageProblem, match="no device that is meant is refused"):
            fleet.commands.retry(running.id, states=["refused"])
        assert fleet.commands.get(running.id[:20]).id == running.id == fleet.commands.recent(2)[1].id
        assert fleet.commands.cancel(running.id).id == running.id


# ---- the audit -------------------------------------------------------------------------------------------------------------


async def test_the_audit_says_who_wanted_what(hub: LiveFleet, fleet: Fleet, tmp_path: Path) -> None:
    await fleet.config.set(BERLIN, {"app.a.b": time.time()}, note="summer")
    async with opened(hub, tmp_path, "paul") as paul:
        running = await paul.commands.run("service.stop", {"unit": "nginx"}, devices=["pi-01"], groups=["munich"], note="night")
        with pytest.raises(Refused, match="needs the role admin"):
            await read_audit(Admin(paul.client), None)
    await fleet.commands.cancel(running.id)

    async def told() -> bool:
        records = [record for record in await read_audit(Admin(fleet.client), None) if record.id == running.id]
        return len(records) == 1 and records[0].cancelled_by == CONTEXT_USER

    await until(told, "the hub has copied it")
    records = json.loads((await typed("audit", "--since", "1h", "--json")).out)
    (command,) = [record for record in records if record.get("id") == running.id]
    assert (command["by"], command["action"], command["args"]) == ("paul", "service.stop", {"unit": "nginx"})
    assert command["to"] == "-g munich -d pi-01" and command["note"] == "night" and command["until"]
    (config,) = [record for record in records if record["what"] == "config" and record["note"] == "summer"]
    assert (config["by"], config["to"]) == (CONTEXT_USER, "group.berlin")
    assert "service.stop unit=nginx" in (await typed("audit")).out


async def test_a_long_audit_comes_in_pages(fleet: Fleet) -> None:
    big = "x" * (PAGE_BYTES // 3)
    for _ in range(4):
        await fleet.commands.run("app.doors.open", {"x": big}, devices=["pi-01"])
    admin = Admin(fleet.client)

    async def whole() -> bool:
        return len([record for record in await read_audit(admin, None) if record.action == "app.doors.open"]) >= 4

    await until(whole, "the hub has copied them")
    page = await admin.ask(AUDIT, ReadAudit(), AuditPage)
    assert page.following > page.entries[-1].sequence
    with pytest.raises(UsageProblem, match="is no time"):
        await admin.ask(AUDIT, ReadAudit(since="yesterday"), AuditPage)
    later = await admin.ask(AUDIT, ReadAudit(since="2199-01-01T00:00:00Z"), AuditPage)
    assert later.entries == []
    newest = await admin.ask(AUDIT, ReadAudit(first=page.following), AuditPage)
    last = newest.entries[-1]
    assert [entry.sequence for entry in (await admin.ask(AUDIT, ReadAudit(since=last.time), AuditPage)).entries] == [
        last.sequence
    ]


class Terminal:
    """A command line on a terminal of its own, of so many columns. seen: all that is on it so far."""

    def __init__(self, *words: str, columns: int = 120) -> None:
        self._ours, theirs = pty.openpty()
        argv = [sys.executable, "-m", "edgeagent", *words]
        env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
        self.process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True)
        os.close(theirs)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    async def until(self, text: str) -> None:
        while text not in self.seen:
            try:
                self.seen += (await asyncio.to_thread(os.read, self._ours, 4096)).decode(errors="replace")
            except OSError:  # it has ended, and all was read
                raise AssertionError(f"{text!r} is not in {self.seen}") from None

    async def ended(self) -> int:
        return await asyncio.to_thread(self.process.wait, PATIENCE_SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


async def test_what_is_dangerous_asks_first_and_then_shows_a_live_table(hub: LiveFleet, fleet: Fleet) -> None:
    before = await stored(fleet)
    terminal = Terminal("reboot", "-g", "berlin")
    try:
        await terminal.until("on 2 devices, 1 online and 1 not: pi-01, pi-02")
        terminal.type("n\n")
        await terminal.until("cannot reboot on 2 devices: it was not confirmed")
        assert await terminal.ended() == 1 and await stored(fleet) == before
    finally:
        terminal.close()
    terminal = Terminal("reboot", "-g", "berlin")
    try:
        await terminal.until("[y/N]")
        terminal.type("y\n")
        await terminal.until("2 waiting")
        found = re.search(r"(01[0-9A-Z]{24}): reboot for 2 devices, 1 online", terminal.seen)
        assert found and "never seen" in terminal.seen
        for device in ("pi-01", "pi-02"):
            await say(hub, device, found[1], "succeeded", value="another boot")
        await terminal.until("2 succeeded")
        await terminal.until("another boot")
        assert await terminal.ended() == 0
    finally:
        terminal.close()


# ---- a device that runs ----------------------------------------------------------------------------------------------------


async def test_a_real_device_does_as_it_is_told(hub: LiveFleet, fleet: Fleet, tmp_path: Path) -> None:
    user = pwd.getpwuid(os.geteuid()).pw_name
    settings = f"""
[commands]
allow = ["ping", "exec"]
[exec]
enabled = true
allow = [["/bin/echo", "*"], ["/bin/sleep", "*"]]
user = "{user}"
"""
    device = Device(hub, tmp_path / "pi-77", "pi-77", settings)
    await device.register("real")
    files.write_atomic(device.folder / TRUST_FILE, msgspec.json.encode(pinned(fleet.login, "admin")), 0o600)
    waiting = await fleet.commands.run("exec", {"argv": ["/bin/echo", "early"]}, devices=["pi-77"])
    with device.running():
        early = (await waiting.wait(PATIENCE_SECONDS))["pi-77"]
        assert (early.state, early.result.output) == ("succeeded", "early\n"), early
        said = await asyncio.to_thread(cli, "exec", "-g", "real", "--", "/bin/echo", "hello")
        assert (said.code, said.out) == (0, "pi-77: hello\n"), said
        pinged = await asyncio.to_thread(cli, "cmd", "run", "ping", "-d", "pi-77", "--wait", "--json")
        assert pinged.code == 0 and json.loads(pinged.out)["devices"]["pi-77"]["state"] == "succeeded"
        refused = await asyncio.to_thread(cli, "exec", "-g", "real", "--", "/bin/cat", "/etc/shadow")
        assert refused.code == 3 and "pi-77 refused: not allowed here" in refused.err and not refused.out
        slow = await fleet.commands.run("exec", {"argv": ["/bin/sleep", "300"]}, devices=["pi-77"])

        async def runs() -> bool:
            return (await slow.results())["pi-77"].state == "running"

        await until(runs, "it runs")
        await fleet.commands.cancel(slow.id)
        assert (await slow.wait(PATIENCE_SECONDS))["pi-77"].state == "cancelled"
