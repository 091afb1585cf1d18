"""`edgeagent mcu ls|show|send|logs` on a device: a real leaf, the agent's door, and the command line in processes of its own."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent.assembly import mcuclient
from edgeagent.assembly.mcudoor import MAX_LINES, SEND
from edgeagent.errors import Unreachable
from edgeagent.link import connect
from edgeagent.status import McuStatus
from tests.support.fleet import cli, start_cli
from tests.support.mcurig import Rig
from tests.support.servers import kill_leftovers, until

HEADINGS = ["ID", "STATE", "KIND", "WHERE", "FIRMWARE", "READINGS", "LOST", "HEARD"]


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path).running() as rig:
        yield rig
    kill_leftovers(tmp_path)


async def test_what_is_listed_and_shown(rig: Rig) -> None:
    rig.oven.measure(temperature=81.5, door=True, place="kitchen")
    await rig.oven.stored()
    rig.mcus.know(["oven", "shed"])
    rig.more = [McuStatus(id="2e8a:0005:E661", state="found", kind="usb", where="/dev/ttyACM1")]
    rig.write()
    found = await rig.said("ls")
    assert found.code == 0 and found.out.splitlines()[0].split() == HEADINGS
    rows = {line.split()[0]: line for line in found.out.splitlines()[1:]}
    assert list(rows) == ["oven", "shed", "2e8a:0005:E661"]
    assert "online" in rows["oven"] and "1.2.0" in rows["oven"] and "offline" in rows["shed"]
    assert "`sudo edgeagent mcu add ID --usb 2e8a:0005:E661`" in found.err
    (oven, *_) = json.loads((await rig.said("ls", "--json")).out)
    assert (oven["id"], oven["readings"], oven["actions"]) == ("oven", 1, ["led", "beep"]) and oven["heard"].endswith("Z")

    shown = await rig.said("show", "oven")
    assert shown.code == 0 and "firmware 1.2.0 on Pico W" in shown.out and "led, beep" in shown.out, shown
    assert [line.split()[:2] for line in shown.out.splitlines() if line.startswith("mcu.")] == [
        ["mcu.door", "1"],
        ["mcu.temperature", "81.5"],
    ]
    newest = json.loads((await rig.said("show", "oven", "--json")).out)["newest"]
    assert newest[1]["value"] == 81.5 and newest[1]["attributes"] == {"place": "kitchen"}
    missing = await rig.said("show", "ofen")
    assert missing.code == 2 and "There are 2e8a:0005:E661, oven, shed" in missing.err


async def test_the_status_counts_them(rig: Rig) -> None:
    rig.mcus.know(["oven", "shed"])
    rig.mcus.detach("oven", rig.oven, "it was unplugged")
    rig.write()
    said = await asyncio.to_thread(cli, "status", "--settings", str(rig.settings))
    assert "  mcus     2 offline\n           oven: it was unplugged\n" in said.out, said


async def test_a_device_without_any(rig: Rig) -> None:
    rig.mcus.detach("oven", rig.oven)
    rig.mcus.know([])
    rig.write()
    found = await rig.said("ls")
    assert (found.code, found.out) == (0, "") and "sudo edgeagent mcu add ID" in found.err
    assert (await rig.said("ls", "--json")).out == "[]\n"


async def test_it_does_what_it_is_told(rig: Rig) -> None:
    said = await rig.said("send", "oven", "led", "on=1", "colour=red", "--json")
    assert said.code == 0 and json.loads(said.out) == {"mcu": "oven", "action": "led", "value": {"on": 1, "colour": "red"}}
    assert [(action, args) for _, action, args in rig.oven.done] == [("led", {"on": 1, "colour": "red"})]
    rig.oven.answer = lambda action, args: {"ok": True}
    assert (await rig.said("send", "oven", "Beep")).out == "oven: done\n", "on the device its firmware's words count"


async def test_what_no_list_of_processes_shall_show_is_in_a_file(rig: Rig) -> None:
    said = await rig.said("send", "oven", "settings", "id=oven", "--args-file", "-", input='{"wifi.password": "12345678"}')
    assert said.code == 0 and rig.oven.done[-1][1:] == ("settings", {"wifi.password": "12345678", "id": "oven"}), said
    (rig.folder / "new.toml").write_text('led = false\n"mqtt.port" = 1884\n')
    assert (await rig.said("send", "oven", "settings", "--args-file", str(rig.folder / "new.toml"))).code == 0
    assert rig.oven.done[-1][2] == {"led": False, "mqtt.port": 1884}
    refused = {'{"on": 1}': "'on' is in the file, and in words too", "on = ": "it is not valid TOML", "{": "it is not valid JSON"}
    for text, why in refused.items():
        said = await rig.said("send", "oven", "led", "on=1", "--args-file", "-", input=text)
        assert said.code == 2 and why in said.err, (text, said)
    assert len(rig.oven.done) == 2
    said = await rig.said("send", "oven", "led", "--args-file", str(rig.folder / "none.json"))
    assert said.code == 2 and "there is no such file" in said.err


REFUSALS: dict[str, tuple[list[str], str]] = {
    "unknown": (["ofen", "led"], "there is no such microcontroller here"),
    "too-long": (["oven", "led", f"text={'x' * 1100}"], "its arguments are too long"),
    "no-value": (["oven", "led", "on"], "it is no key=value"),
    "no-id": (["Oven", "led"], "1 to 63 of a-z"),
    "for-the-fleet": (["oven", "led", "--note", "why"], "these options are for one of the fleet"),
}


@pytest.mark.parametrize(("words", "why"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_what_it_is_not_told(rig: Rig, words: list[str], why: str) -> None:
    said = await rig.said("send", *words)
    assert said.code != 0 and said.out == "" and why in said.err and rig.oven.done == []


async def test_what_it_does_not_do(rig: Rig) -> None:
    rig.oven.answer = lambda action, args: {"ok": False, "why": "the door is open\x1b[2J"}
    said = await rig.said("send", "oven", "heat")
    assert said.code == 1 and "cannot have oven do heat: the door is open" in said.err and "\x1b" not in said.err
    rig.oven.answer = lambda action, args: None
    said = await rig.said("send", "oven", "heat", "--timeout", "0.2")
    assert said.code == 1 and "it did not answer within 0.2 s" in said.err
    rig.mcus.detach("oven", rig.oven, "it was unplugged")
    said = await rig.said("send", "oven", "heat")
    assert said.code == 1 and "it is offline. It was unplugged" in said.err


async def test_what_it_printed(rig: Rig) -> None:
    quiet = await rig.said("logs", "oven")
    assert (quiet.code, quiet.out) == (0, "") and "has printed nothing" in quiet.err
    for number in range(5):
        rig.mcus.line("oven", f"line {number} \x1b[31m")
    said = await rig.said("logs", "oven", "-n", "2")
    assert [line.split("  ", 1)[1] for line in said.out.splitlines()] == ["line 3 �[31m", "line 4 �[31m"]
    assert "no such microcontroller" in (await rig.said("logs", "ofen")).err


async def test_its_lines_are_followed(rig: Rig) -> None:
    rig.mcus.line("oven", "before")
    following = start_cli("mcu", "logs", "oven", "-f", "--settings", str(rig.settings))
    try:
        assert following.stdout
        assert "before" in await asyncio.to_thread(following.stdout.readline)
        for number in range(3):
            rig.mcus.line("oven", f"now {number}")
        rig.mcus.line("shed", "of another")
        rig.mcus.line("oven", "last")
        lines = [await asyncio.to_thread(following.stdout.readline) for _ in range(4)]
        assert [line.split("  ", 1)[1].strip() for line in lines] == ["now 0", "now 1", "now 2", "last"]
        following.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(following.wait, 10) == 130
    finally:
        following.kill()
        following.communicate()


async def test_a_flood_of_lines_is_bounded_and_counted(rig: Rig) -> None:
    lines = mcuclient.follow(rig.wanted, "oven", 10)
    rig.mcus.line("oven", "first")
    assert (await lines.__anext__()).text == "first"
    for number in range(MAX_LINES + 7):  # in one go: nothing is published in between
        rig.mcus.line("oven", f"flood {number}")
    found = await lines.__anext__()
    assert (found.text, found.missed) == ("flood 7", 7)
    await lines.aclose()


async def test_only_who_has_the_agents_login_is_heard(rig: Rig) -> None:
    client = await connect(rig.leaf.url, what="x", name="x", inbox_prefix="_INBOX.app.x")
    replies = await client.subscribe("_INBOX.app.x.1")
    await client.publish(SEND, b'{"mcu":"oven","action":"led"}', reply="_INBOX.app.x.1")
    await client.flush()
    await rig.client.publish(SEND, b'{"mcu":"oven","action":"led"}', reply="local.data.doors")  # the answer would go to the store
    await rig.client.publish(SEND, b'{"mcu":"oven","action":"beep"}', reply="_INBOX.cli.1.1")
    await until(lambda: len(rig.oven.done) == 1, "the last one is done")
    assert [action for _, action, _ in rig.oven.done] == ["beep"]
    assert ((await replies.next_msg(timeout=10)).headers or {}).get("Status") == "503", "nobody listens where programs are"
    await client.close()


async def test_without_an_agent(rig: Rig) -> None:
    await rig.tasks.close()
    await rig.client.close()
    said = await rig.said("send", "oven", "led")
    assert said.code == 1 and "the agent does not answer" in said.err and "`edgeagent status`" in said.err
    with pytest.raises(Unreachable):
        await mcuclient.logs(rig.wanted, "oven")


async def test_a_device_where_no_agent_ever_ran(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('[paths]\nstate = "state"\nruntime = "run"\n')
    for words in (["ls"], ["show", "oven"], ["send", "oven", "led"], ["logs", "oven"]):
        said = await asyncio.to_thread(cli, "mcu", *words, "--settings", str(tmp_path / "agent.toml"))
        assert said.code == 1 and "has not run here" in said.err, words
