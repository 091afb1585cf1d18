"""Microcontrollers across a fleet: a real hub, two devices, and a virtual microcontroller on a wire to one of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from edgeagent.cli import mcu_names
from edgeagent.fleet import Fleet
from edgeagent.fleet.mcus import FIELDS, mcus_of
from edgeagent.status import McuStatus
from tests.support.fleet import STEADY, LiveFleet
from tests.support.servers import until
from tests.support.typed import typed
from tests.support.virtualmcu import Cable, VirtualMcu

DEVICE, OTHER = "pi-01", "pi-02"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dev") / "usb-oven"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, port: Path) -> Iterator[LiveFleet]:
    text = f"""[forward]
seconds = 0.2
[serial.mcus.oven]
port = "{port}"
[commands]
allow = ["ping", "mcu.oven.led", "mcu.oven.heat", "mcu.logs", "mcu.add", "mcu.rm", "mcu.update"]
[alert]
much = 'mcu.n{{mcu="oven"}} > 5'
"""
    made = LiveFleet(tmp_path_factory.mktemp("fleet"), 2, STEADY, more=lambda device: text if device == DEVICE else "")
    with made, made.borrowed():
        yield made


def known(fleet: LiveFleet) -> McuStatus:
    (found,) = [each for each in fleet.status(DEVICE).mcus if each.id == "oven"] or [McuStatus(id="oven", state="")]
    return found


@pytest_asyncio.fixture
async def oven(fleet: LiveFleet, port: Path, tmp_path: Path) -> AsyncIterator[VirtualMcu]:
    async with VirtualMcu(tmp_path, "oven", Cable(), count=20, interval=0.02, fw="1.1.0") as made:
        made.cable.plug(port)
        await until(lambda: known(fleet).state == "online" and known(fleet).firmware == "1.1.0", "it is there")
        yield made
    await until(lambda: known(fleet).state == "offline", "it is gone")


async def test_they_are_listed_shown_and_asked_for(fleet: LiveFleet, oven: VirtualMcu) -> None:
    listed = await typed("mcu", "ls", "--all")
    assert listed.code == 0, listed
    heading, row = listed.out.splitlines()
    assert heading.split()[:5] == ["DEVICE", "ID", "STATE", "KIND", "WHERE"]
    assert row.split()[:4] == [DEVICE, "oven", "online", "uart"]
    (found,) = json.loads((await typed("mcu", "ls", "-d", DEVICE, "--json")).out)
    assert (found["firmware"], found["actions"], found["lost"]) == ("1.1.0", ["led"], 0) and found["heard_seconds"] >= 0

    async with Fleet() as client:

        async def newest() -> bool:
            shown = json.loads((await typed("mcu", "show", f"{DEVICE}/oven", "--json")).out)
            return any(each["metric"] == "mcu.n" and each["value"] == 20 for each in shown["newest"])

        await until(newest, "what it measured last is at the hub")
        shown = await typed("mcu", "show", f"{DEVICE}/oven")
        assert shown.out.startswith(f"{DEVICE}/oven  online, firmware 1.1.0 on virtual") and "mcu.n" in shown.out

        old = await client.query('mcus.exists(m, m.firmware != "1.2.0")')
        assert [row.id for row in old.answered] == [DEVICE]
        assert (await client.query('mcus.exists(m, m.firmware != "1.1.0")')).answered == []
        lost = await client.query("mcus_now.oven.lost > 0")
        assert lost.answered == [] and set(lost.no_match) == {DEVICE, OTHER}

        async def raised() -> bool:
            return [row.id for row in (await client.query("'much' in alerts")).answered] == [DEVICE]

        await until(raised, "an alert watches what it measures")

    assert (await typed("mcu", "ls", "-d", OTHER)).err.startswith(
        "None of these devices knows a microcontroller. To make one known"
    )
    missing = await typed("mcu", "show", f"{OTHER}/oven")
    assert missing.code == 2 and "pi-02 has none of that id" in missing.err
    assert (await typed("mcu", "ls", "--all", "-d", OTHER)).code == 2
    assert (await typed("mcu", "ls", "--cached", "--settings", "/nowhere")).code == 2


async def test_it_does_what_a_signed_command_says_once(fleet: LiveFleet, oven: VirtualMcu) -> None:
    said = await typed("mcu", "send", f"{DEVICE}/oven", "led", "on=1", "--wait", "--json")
    assert said.code == 0, said
    found = json.loads(said.out)
    row = found["devices"][DEVICE]
    assert (row["state"], row["value"]) == ("succeeded", {"on": 1})
    assert oven.did("ran") == [(found["id"], 1)], "the id of the command is its own"
    failed = await typed("mcu", "send", "oven", "heat", "-d", DEVICE, "--wait")
    assert failed.code == 3 and "oven says: no such command" in failed.out
    refused = await typed("mcu", "send", f"{DEVICE}/oven", "melt", "--wait")
    assert refused.code == 3 and "`mcu.oven.melt` in `commands.allow`" in refused.out
    assert len(oven.did("ran")) == 1


async def test_it_is_told_wherever_it_is(fleet: LiveFleet, oven: VirtualMcu) -> None:
    """Devices without such a one are not meant."""
    async with Fleet() as client:

        async def reported() -> bool:
            found = await client.query('mcus.exists(m, m.id == "oven" && m.state == "online")', cached=True)
            return [row.id for row in found.answered] == [DEVICE]

        await until(reported, "the hub knows where it is")
    for words in (["--all"], ["--where", "id != 'pi-09' // all of them"]):
        said = await typed("mcu", "send", "oven", "led", *words, "--wait", "--json")
        assert said.code == 0 and list(json.loads(said.out)["devices"]) == [DEVICE], said
    assert len(oven.did("ran")) == 2
    assert (await typed("mcu", "send", "oven", "led", "--all", "-d", OTHER, "--wait")).code == 2


async def test_firmware_is_uploaded_and_sent_to_who_takes_it(fleet: LiveFleet, oven: VirtualMcu, tmp_path: Path) -> None:
    (tmp_path / "new" / "app").mkdir(parents=True)
    (tmp_path / "new" / "app" / "app.py").write_text("x = 1\n")
    (tmp_path / "new" / "app" / "version.py").write_text('VERSION = "9.9"\n')
    words = ("firmware", "update", "oven", "--source", str(tmp_path / "new"), "--wait")
    said = await typed(*words, "-d", DEVICE, "--json")
    row = json.loads(said.out)["devices"][DEVICE]
    assert said.code == 3 and row["state"] == "refused" and "oven takes no updates: no such command" in row["reason"], said
    refused = await typed(*words[:2], f"{OTHER}/oven", *words[3:])
    assert refused.code == 3 and "`mcu.update` in `commands.allow`" in refused.out
    assert "edgeagent firmware update" in (await typed("mcu", "send", f"{DEVICE}/oven", "update.begin")).err
    rows = (await typed("firmware", "status", "--all")).out.splitlines()
    assert rows[1].split()[:3] == [DEVICE, "oven", "1.1.0"] and rows[1].endswith("takes no updates")


async def test_what_it_printed_is_read_from_afar(fleet: LiveFleet, oven: VirtualMcu) -> None:
    async def printed() -> bool:
        said = await typed("mcu", "logs", f"{DEVICE}/oven", "-n", "50")
        assert said.code == 0, said
        return "a print, number 20" in said.out

    await until(printed, "the last of it is there")
    assert "can't be followed from here" in (await typed("mcu", "logs", f"{DEVICE}/oven", "-f")).err
    missing = await typed("mcu", "logs", f"{DEVICE}/ofen")
    assert missing.code == 3 and "there is no such microcontroller here" in missing.out + missing.err, missing


async def test_the_shell_is_offered_ids_and_actions(fleet: LiveFleet, oven: VirtualMcu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeagent.cli.completion.PATIENCE_SECONDS", 30)

    async def offered(incomplete: str, complete: Any, **params: Any) -> list[str]:
        return await asyncio.to_thread(complete, SimpleNamespace(params=params), incomplete)

    own = str(fleet.layout.settings(DEVICE))
    assert await offered("o", mcu_names._targets, settings_file=own) == ["oven"]
    assert await offered("pi-", mcu_names._targets, settings_file=own) == [f"{DEVICE}/", f"{OTHER}/"]
    assert await offered(f"{DEVICE}/", mcu_names._targets) == [f"{DEVICE}/oven"]
    assert await offered("", mcu_names._actions, target="oven", settings_file=own) == ["led"]
    assert await offered("l", mcu_names._actions, target=f"{DEVICE}/oven") == ["led"]
    assert await offered("", mcu_names._actions, target="oven", settings_file="/nowhere/agent.toml") == []


async def test_one_that_is_away(fleet: LiveFleet) -> None:
    """Nothing is plugged in."""
    async with Fleet() as client:

        async def is_offline() -> bool:
            rows = (await client.query(select=FIELDS, devices=[DEVICE])).answered
            return [each.state for row in rows for each in mcus_of(row)] == ["offline"]

        await until(is_offline, "the device says so")
    refused = await typed("mcu", "send", f"{DEVICE}/oven", "led", "--wait")
    assert refused.code == 3 and "it is offline" in refused.out
    fleet.cut_and_known(DEVICE)
    try:
        (found,) = json.loads((await typed("mcu", "ls", "--all", "--json")).out)
        assert (found["state"], found["readings"]) == ("device offline", None)
    finally:
        fleet.restore(DEVICE)
        fleet.whole()


async def test_one_on_a_wire_is_added_and_removed_from_afar(fleet: LiveFleet, tmp_path: Path) -> None:
    async with VirtualMcu(tmp_path, "scale", Cable(), count=5, interval=0.02) as scale:
        scale.cable.plug(tmp_path / "scale")
        added = await typed("mcu", "add", f"{DEVICE}/scale", "--port", str(tmp_path / "scale"))
        assert added.code == 0 and "1 succeeded" in added.out + added.err
        states = {"scale": ""}

        def state() -> str:
            states.update({each.id: each.state for each in fleet.status(DEVICE).mcus})
            return states["scale"]

        await until(lambda: state() == "online", "it is there")
        again = await typed("mcu", "add", f"{DEVICE}/scale", "--port", "/dev/ttyAMA7")
        assert again.code != 0 and "it is on a wire already" in again.out + again.err
        wrong = await typed("mcu", "add", f"{DEVICE}/balance", "--usb", "pico")
        assert wrong.code != 0 and "vendor and product" in wrong.out + wrong.err
        assert "a login for MQTT is made" in (await typed("mcu", "add", f"{DEVICE}/esp")).err
        removed = await typed("mcu", "rm", f"{DEVICE}/scale")
        assert removed.code == 0
        await until(lambda: "scale" not in {each.id for each in fleet.status(DEVICE).mcus}, "it is forgotten")
    refused = await typed("mcu", "add", f"{OTHER}/scale", "--usb", "2e8a:0005")
    assert refused.code != 0 and "`mcu.add` in `commands.allow`" in refused.out + refused.err
