"""``kill -9`` of each part, and the fleet is whole again by itself.

Who starts what again: the agent its leaf, ``hub up`` its nats-server; agent and ``hub up`` are started by their supervisor (systemd on
a real machine; here the demo, which waits 2 s at most as the units do). The promise at the demo's pace is 10 s.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgeagent.fleet import Fleet
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import Keyring
from edgeagent.link import connect, request, settle
from edgeagent.trust import creds
from tests.support import quick
from tests.support.fleet import STEADY, LiveFleet, cli, everybody_answered, online
from tests.support.servers import is_alive, kill, until

#: Three times what is promised: other things may run on this machine.
WITHIN_SECONDS = 30.0

Pids = dict[str, int]


def pids(fleet: LiveFleet) -> Pids:
    return {
        "hub": fleet.hub_pid("hub"),
        "server": fleet.hub_pid("server"),
        "agent": fleet.pid("pi-01", "agent"),
        "leaf": fleet.pid("pi-01", "leaf"),
    }


def all_alive(fleet: LiveFleet) -> bool:
    try:
        return all(map(is_alive, pids(fleet).values()))
    except (OSError, ValueError):
        return False  # a pid file is written just now


async def killed(fleet: LiveFleet, *victims: str) -> tuple[Pids, Pids]:
    """Kill them; the process ids before, and after everything is whole again."""
    before, begun = pids(fleet), time.monotonic()
    for victim in victims:
        kill(before[victim])
    await until(lambda: not any(is_alive(before[victim]) for victim in victims), f"{victims} died")
    await until(lambda: all_alive(fleet), f"{victims} run again", WITHIN_SECONDS)
    await asyncio.to_thread(fleet.whole, WITHIN_SECONDS)  # the test's own connections live on meanwhile
    assert time.monotonic() - begun < WITHIN_SECONDS
    return before, pids(fleet)


def changed(before: Pids, after: Pids) -> set[str]:
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    "victims", [["agent"], ["leaf"], ["server"], ["hub"], ["agent", "leaf"], ["hub", "server"]], ids="+".join
)
async def test_whatever_is_killed_comes_back(fleet: LiveFleet, victims: list[str]) -> None:
    before, after = await killed(fleet, *victims)
    assert changed(before, after) == set(victims), "what was not killed goes on, and is taken over by who comes back"
    async with Fleet() as operator:
        outcome = await operator.query(select=["labels.site"], timeout=WITHIN_SECONDS)
    assert online(outcome) == fleet.ids and everybody_answered(outcome)
    await until(lambda: fleet.status("pi-01").leaf.state == "running", "the status file says so")


async def test_local_programs_do_not_notice_that_the_agent_was_killed(fleet: LiveFleet) -> None:
    program = await connect(fleet.leaf_url("pi-01"), what="reach the leaf", name="a", inbox_prefix="_INBOX.a", reconnect=False)
    try:
        heard = await program.subscribe("local.sensor.>")
        await settle(program, what="listen")
        await killed(fleet, "agent")
        await program.publish("local.sensor.temperature", b"21.5")
        assert (await heard.next_msg(timeout=WITHIN_SECONDS)).data == b"21.5"
    finally:
        await program.close()


async def test_the_agent_counts_what_its_leaf_went_through(fleet: LiveFleet) -> None:
    before = fleet.status("pi-01").leaf.restarts
    await killed(fleet, "leaf")
    await until(lambda: fleet.status("pi-01").leaf.pid == fleet.pid("pi-01", "leaf"), "the status file says so")
    assert fleet.status("pi-01").leaf.restarts == before + 1
    assert cli("status", "--settings", str(fleet.layout.settings("pi-01"))).code == 0


async def test_what_the_hub_keeps_survives_its_server(fleet: LiveFleet) -> None:
    async with Fleet() as operator:
        before = await operator.roster()
    await killed(fleet, "hub", "server")
    async with Fleet() as operator:
        after = await operator.roster()
    assert after.devices.keys() == before.devices.keys()
    for device, known in after.devices.items():
        was = before.devices[device]
        assert known.record == was.record and known.report and was.report
        assert known.report.facts == was.report.facts and known.report.instance == was.report.instance, "not sent again"


async def test_a_fleet_that_was_open_goes_on_after_the_hub_was_killed(fleet: LiveFleet) -> None:
    async with Fleet() as operator:
        assert online(await operator.query()) == fleet.ids
        await killed(fleet, "server")
        await until(lambda: operator.client.is_connected, "the operator's connection is back")
        assert online(await operator.query(timeout=WITHIN_SECONDS)) == fleet.ids


async def test_presence_is_right_after_the_hub_was_killed(fleet: LiveFleet) -> None:
    """Events are lost while nobody listens; presence must come right by itself, not only the heartbeats' word."""
    await killed(fleet, "server")

    async def all_present() -> bool:
        async with Fleet() as operator:
            roster = await operator.roster()
        return all(known.presence is not None and known.presence.online for known in roster.devices.values())

    await until(all_present, "every device is present", WITHIN_SECONDS)


async def test_a_leaf_that_lost_its_subscriptions_dials_anew(tmp_path: Path) -> None:
    """A new JWT of OPS with other exports: nats-server takes the leafs' subscriptions away and leaves the links up."""
    pace = replace(STEADY, heartbeat_seconds=1.0)
    with LiveFleet(tmp_path, 1, pace, agent=quick.impatient_agent) as alone, alone.borrowed() as fleet:
        await loses_its_subscriptions(fleet)


async def loses_its_subscriptions(fleet: LiveFleet) -> None:
    keyring = Keyring.load(fleet.hub.path)
    for micro in (False, True):
        await push(fleet, keyring.account_jwts(micro=micro)["OPS"][1])
    assert "Removed sub" in fleet.hub.log.read_text(), "else this test proves nothing"
    fleet.whole(WITHIN_SECONDS)
    await until(lambda: all(fleet.status(device).link.up for device in fleet.ids), "each agent says so")


async def push(fleet: LiveFleet, token: str) -> None:
    """Give the hub's server a new JWT of an account."""
    login = creds.callbacks(Keyring.load(fleet.hub.path).service_credentials("sys"))
    client = await connect(fleet.url, what="reach the hub", name="push", inbox_prefix="_INBOX.sys", jwt=login, reconnect=False)
    try:
        answer = await request(client, "$SYS.REQ.CLAIMS.UPDATE", token.encode(), what="push an account")
        assert json.loads(answer.data)["data"]["code"] == 200
    finally:
        await client.close()


def test_the_second_hub_says_that_the_first_runs(fleet: LiveFleet) -> None:
    place: HubFolder = fleet.hub
    said = cli("hub", "up", "--dir", str(place.path))
    assert said.code == 1 and f"already running as pid {fleet.hub_pid()}" in said.err
