"""What people see and type of commands: beginnings of ids, questions, narrow terminals, cancelling what is over, whoever was not meant."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edgeagent import subjects, wire
from edgeagent.command import Entry, Result, Target, new_id
from edgeagent.errors import Failed, UsageProblem
from edgeagent.fleet import Fleet
from edgeagent.fleet.commandlogs import append, signed_entry
from edgeagent.publish import published
from edgeagent.subjects import FLEET_ALL, Scope
from tests.live.test_cmd_operator import BERLIN, Terminal, _fill, log_of, opened, say, stored
from tests.support.administering import inside
from tests.support.fleet import CONTEXT_USER, LiveFleet
from tests.support.typed import typed

LONG = "not allowed here: agent.toml would need `service.restart` in `commands.allow` and `nginx` in `service.allow` as well"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    """The hub of tests/live/test_cmd_operator.py: pi-01 and pi-02 in berlin, pi-03 in munich; only pi-01 is online, and no device runs."""
    with LiveFleet(tmp_path_factory.mktemp("people"), 0) as fleet, fleet.borrowed():
        asyncio.run(_fill(fleet))
        yield fleet


@pytest_asyncio.fixture
async def fleet(hub: LiveFleet) -> AsyncIterator[Fleet]:
    async with Fleet() as opened:
        yield opened


async def screen(*words: str, columns: int) -> list[str]:
    """The lines that a terminal of that width is given, without their colours."""
    terminal = Terminal(*words, columns=columns)
    try:
        with pytest.raises(AssertionError):
            await terminal.until("there is no such text")
        await terminal.ended()
    finally:
        terminal.close()
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", terminal.seen).splitlines()]


# ---- looking ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 120], ids=str)
async def test_ids_and_states_are_whole_on_a_narrow_terminal(hub: LiveFleet, fleet: Fleet, columns: int) -> None:
    running = await fleet.commands.run("service.restart", {"unit": "nginx"}, groups=["berlin"])
    await say(hub, "pi-01", running.id, "refused", reason=LONG)
    await say(hub, "pi-02", running.id, "succeeded", value={"greeted": "olga"}, output="hello\n", output_bytes=6)
    shown = await screen("cmd", "show", running.id[:22].lower(), columns=columns)
    assert max(map(len, shown)) <= columns
    assert any(line.startswith("pi-01  refused    online") for line in shown), shown
    assert any(line.startswith("pi-02  succeeded  never seen") and '{"greeted": "olga"}' in line for line in shown), shown
    assert " ".join(LONG.split()) in " ".join(" ".join(shown).split()), "the whole reason is there"
    listed = await screen("cmd", "ls", "-n", "2", columns=columns)
    assert listed[1].startswith(f"{running.id}  ") and max(map(len, listed)) <= columns
    actions = await screen("cmd", "actions", columns=columns)
    assert any(line.startswith("service.restart  unit ") for line in actions) and max(map(len, actions)) <= columns


async def test_ones_newest_command_needs_no_id(hub: LiveFleet, fleet: Fleet, tmp_path: Path) -> None:
    mine = await fleet.commands.run("ping", groups=["berlin"])
    async with opened(hub, tmp_path, "olga") as olga:
        await olga.commands.run("ping", devices=["pi-03"])
    assert json.loads((await typed("cmd", "show", "--last", "--json")).out)["id"] == mine.id
    for wrong in (("cmd", "show"), ("cmd", "show", "--last", mine.id), ("cmd", "show", mine.id[:3])):
        assert (await typed(*wrong)).code == 2
    ambiguous = await typed("cmd", "show", mine.id[:4])
    assert ambiguous.code == 2 and "begin so" in ambiguous.err


async def test_what_it_wrote_and_what_it_answered_are_both_shown(hub: LiveFleet, fleet: Fleet) -> None:
    running = await fleet.commands.run("plugin.greet", {"name": "5"}, devices=["pi-01"])
    moment = "2020-01-02T03:04:05.678Z"
    await say(
        hub, "pi-01", running.id, "failed", reason=f"late since {moment}", value={"a": 1}, output="one\ntwo\n", output_bytes=8
    )
    done = await typed("cmd", "show", running.id, "--output-of", "pi-01")
    assert done.out == "one\ntwo\n" and 'answered: {"a": 1}' in done.err
    table = (await typed("cmd", "show", running.id)).out
    assert 'plugin.greet name="5"' in table and '{"a": 1}' in table and "late since 2020-01-0" in table and moment not in table
    (row,) = json.loads((await typed("cmd", "ls", "-n", "1", "--json")).out)
    assert (row["action"], row["args"]) == ("plugin.greet", {"name": "5"})


async def test_what_others_write_moves_no_cursor_also_as_json(hub: LiveFleet, fleet: Fleet) -> None:
    running = await fleet.commands.run("ping", devices=["pi-01"])
    await say(hub, "pi-01", running.id, "failed", reason="\x9b31m\u202e\x7f")
    out = (await typed("cmd", "show", running.id, "--json")).out
    assert not set(out) & set("\x9b\u202e\x7f") and json.loads(out)["devices"]["pi-01"]["reason"] == "\x9b31m\u202e\x7f"


async def test_an_entry_that_makes_no_sense_costs_only_itself(hub: LiveFleet, fleet: Fleet) -> None:
    good = await fleet.commands.run("ping", groups=["berlin"])

    async def put(target: Target, not_after: int) -> str:
        entry = Entry(
            id=new_id(time.time(), fleet.login.public_key), action="ping", log="", floor=0, not_after=not_after, target=target
        )
        await append(fleet.client, fleet.login, BERLIN, entry)
        return entry.id

    late = await put(Target(), 1 << 52)
    broken = await put(Target(where="1 +"), int(time.time()) + 60)
    label = await put(Target(labels={"a b": "x"}), int(time.time()) + 60)
    nobody = await put(Target(), 10**17)
    rows = {row["id"]: row for row in json.loads((await typed("cmd", "ls", "-n", "9", "--json")).out)}
    assert rows[good.id]["states"] == {"waiting": 2} and nobody not in rows
    assert (
        rows[late]["until"].startswith("9999-")
        and "not known: " in rows[broken]["states"]
        and "not known: " in rows[label]["states"]
    )
    assert (await typed("cmd", "ls")).code == 0 and (await typed("audit")).code == 0
    assert (await typed("cmd", "show", late)).code == 0


# ---- asking ----------------------------------------------------------------------------------------------------------------


async def test_ctrl_c_at_the_question_ends_it_at_once(fleet: Fleet) -> None:
    before = await stored(fleet)
    terminal = Terminal("exec", "pi-01", "pi-03", "--", "/usr/bin/id", "-u")
    try:
        await terminal.until("[y/N]")
        assert 'exec argv=["/usr/bin/id", "-u"]' in terminal.seen and "2 online and 0 not: pi-01, pi-03" in terminal.seen
        assert "until " in terminal.seen
        # What comes in the instant before the terminal is read is only noted: one presses it again.
        while terminal.process.poll() is None:
            terminal.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(terminal.process.wait, 5)
        assert await terminal.ended() == 130 and await stored(fleet) == before
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exec", "-d", "pi-01", "uptime", "-p"], "Put -- before the program"),
        (["exec", "pi-01", "--"], "none is named"),
        (["exec", "pi-09", "--", "/usr/bin/uptime"], "pi-09"),
        (["cmd", "run", "ping", "--where", "1 + 1"], "its result is a number"),
        (["cmd", "run", "logs", "x=1", "-d", "pi-01"], "`edgeagent cmd actions logs` shows its arguments"),
        (["cmd", "retry", "01KAJ8XG4Q2T9V5H3M7R6W1YZE", "--states", "running"], "nothing ends so"),
    ],
    ids=["no-dashes", "no-program", "no-device", "no-condition", "no-argument", "no-end"],
)
async def test_what_cannot_be_meant_says_what_to_type(hub: LiveFleet, words: list[str], said: str) -> None:
    done = await typed(*words)
    assert done.code == 2 and said in done.err + done.out, done


async def test_a_plugins_manifest_has_the_last_word(hub: LiveFleet) -> None:
    sent = await typed("cmd", "run", "plugin.greet", "-d", "pi-01")
    assert "or sooner as the device's manifest says" in sent.err
    assert "device's manifest" in (await typed("cmd", "actions", "plugin.greet")).out
    assert "manifest" not in (await typed("cmd", "actions", "exec")).out


async def test_who_is_limited_sees_whom_it_was_for(hub: LiveFleet, fleet: Fleet, tmp_path: Path) -> None:
    foreign = await fleet.commands.run("ping", devices=["pi-03"], groups=["berlin"])
    async with opened(hub, tmp_path, "gus", "operator", "berlin") as gus:
        mine = await gus.commands.run("ping", devices=["pi-01"])
        assert (await gus.commands.get(mine.id)).command.selector == "-d pi-01"
        with pytest.raises(UsageProblem, match="command the device pi-03: this login is limited to the groups berlin"):
            await gus.commands.cancel(foreign.id)


# ---- cancelling, and asking again ------------------------------------------------------------------------------------------


async def test_what_is_over_is_not_cancelled(hub: LiveFleet, fleet: Fleet) -> None:
    running = await fleet.commands.run("ping", groups=["berlin"])
    await say(hub, "pi-01", running.id, "succeeded")
    first = await typed("cmd", "cancel", running.id)
    assert first.code == 0 and "whoever has not ended" in first.out and "before" not in first.err
    second = await typed("cmd", "cancel", running.id)
    assert second.code == 0 and f"{CONTEXT_USER} cancelled it before, at " in second.err
    await say(hub, "pi-02", running.id, "cancelled")
    before = await stored(fleet)
    with pytest.raises(Failed, match=r"nothing to cancel: it has ended on all 2 devices \(1 \w+, 1 \w+\)"):
        await fleet.commands.cancel(running.id)
    assert await stored(fleet) == before
    filtered = await fleet.commands.run("ping", labels=["site=north"], everybody=False, devices=["pi-01"])
    await say(hub, "pi-01", filtered.id, "succeeded")
    await fleet.commands.cancel(filtered.id)
    assert await stored(fleet) == before + 2, "a device may come by a label as long as it has not expired"


async def test_who_was_not_meant_counts_for_nothing(hub: LiveFleet, fleet: Fleet) -> None:
    running = await fleet.commands.run("ping", devices=["pi-01"])
    await say(hub, "pi-03", running.id, "running")
    await say(hub, "pi-01", running.id, "succeeded")
    done = await typed("cmd", "show", running.id, "--wait", "--timeout", "60")
    assert done.code == 0 and "(not meant)" in done.out and "1 not meant" in done.err and "comes later" not in done.err
    await say(hub, "pi-03", running.id, "failed", reason="pick me")
    assert (await typed("cmd", "show", running.id, "--wait")).code == 0
    with pytest.raises(UsageProblem, match="no device that is meant"):
        await fleet.commands.retry(running.id)


async def test_it_is_sent_again_to_those_that_ended_so(hub: LiveFleet, fleet: Fleet) -> None:
    first = await fleet.commands.run("service.start", {"unit": "nginx"}, labels=["site=north"], where="cpu.count > 2")
    await say(hub, "pi-01", first.id, "refused", reason="not allowed here")
    await say(hub, "pi-03", first.id, "succeeded")
    again = await typed("cmd", "retry", first.id[:20], "--states", "refused,no_answer", "--detach")
    command = (await fleet.commands.get(again.out.strip())).command
    assert command.scopes == (Scope.device("pi-01"),)
    assert (command.target.labels, command.target.where) == ({"site": "north"}, "cpu.count > 2"), "what it was for stays"
    twice = await typed("cmd", "retry", first.id, "--states", "refused", "--dry-run")
    assert f"{CONTEXT_USER} has sent it again already" in twice.err and command.id in twice.err


# ---- numbers that nobody can reach -----------------------------------------------------------------------------------------


async def test_a_large_number_ends_no_log_unless_it_is_signed(hub: LiveFleet, fleet: Fleet) -> None:
    scope = Scope.group("far")
    good = Entry(id=new_id(time.time(), fleet.login.public_key), action="ping", log="", floor=0, not_after=int(time.time()) + 600)
    assert await append(fleet.client, fleet.login, scope, good) == 1
    await published(fleet.client, subjects.command_log(scope, 10**12 - 2), b"rubbish")
    assert await append(fleet.client, fleet.login, scope, good) == 2
    assert await append(fleet.client, fleet.login, scope, good) == 3
    last = 10**12 - 1
    (_, data) = (await log_of(fleet, scope))[0]
    log: dict[str, Any] = json.loads(json.loads(data)["body"])
    entry = Entry(
        id=new_id(time.time(), fleet.login.public_key), action="ping", log=log["log"], floor=1, not_after=good.not_after
    )
    signed = signed_entry(fleet.login, scope, entry, number=last, at=int(time.time()))
    await published(fleet.client, subjects.command_log(scope, last), signed)
    with pytest.raises(Failed, match=r"the log of group\.far is at its end"):
        await append(fleet.client, fleet.login, scope, good)


async def test_results_of_no_command_are_not_read(hub: LiveFleet, fleet: Fleet) -> None:
    entry = Entry(id="*", action="ping", log="", floor=0, not_after=int(time.time()) + 60)
    await append(fleet.client, fleet.login, FLEET_ALL, entry)
    async with inside(hub) as client:
        await published(
            client,
            subjects.result("pi-01", new_id(time.time(), fleet.login.public_key)),
            wire.encode(Result(id="x", state="running")),
        )
    assert "*" not in {command.id for command in await fleet.commands.recent(500)}
