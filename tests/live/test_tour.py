"""Types the README's tour, line by line, and compares what comes with what the README shows."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from edgeagent.demo.story import until
from edgeagent.fleet import Fleet, State
from edgeagent.fleet.admin import Admin
from edgeagent.fleet.audit import read as read_audit
from edgeagent.fleet.states import Known, state_of
from tests.support.fleet import PATIENCE_SECONDS, start_cli
from tests.support.servers import until as eventually

README = Path(__file__).parents[2] / "README.md"


class Line(NamedTuple):
    command: str
    shown: list[str]


def tour() -> list[Line]:
    """The commands between the two marks, each with the output below it."""
    text = README.read_text().split("<!-- tour:", 1)[1].split("<!-- tour ends -->", 1)[0]
    lines: list[Line] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for row in block.splitlines():
            if row.startswith("$ "):
                lines.append(Line(row[2:], []))
            else:
                lines[-1].shown.append(row)
    return lines


#: What differs from run to run: numbers, times, ids of commands, where the demo is.
CHANGING = re.compile(r"[(]?[\d.,:-]+[a-z%)]*|ago|now|over|01[0-9A-Z]{24}:?|/\S+\.tty")
#: How many devices are how far, which is said whenever it changes.
PROGRESS = re.compile(r"\d+ (waiting|accepted|running|succeeded)((, | · )\d+ (waiting|accepted|running|succeeded))*")


def gist(rows: list[str]) -> list[str]:
    """Rows without what differs from run to run, the spaces that follow from that, and how far a command is meanwhile."""
    found = []
    for row in rows:
        words = [word for word in re.sub(r"\{.*\}", "{}", row).split() if not CHANGING.fullmatch(word)]
        found += [] if PROGRESS.fullmatch(row.strip()) else [" ".join(words)]
    return found


def type_line(command: str) -> list[str]:
    """What a terminal shows: standard output and standard error together."""
    words = [sys.executable, "-m", *shlex.split(command)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def shows(line: Line) -> bool:
    """Whether the command shows what the page says, by now: before a device has sent anything it is an error."""
    try:
        return gist(type_line(line.command)) == gist(line.shown)
    except AssertionError as error:
        print(line.command, error)
        return False


async def settled() -> None:
    """Until every device that is let in is online, and says that it is in the groups that the hub has it in."""

    def is_settled(known: Known) -> bool:
        return set((known.facts or {}).get("groups", [])) == set(known.groups)  # type: ignore[arg-type]  # a list of names

    async def all_are() -> bool:
        async with Fleet() as fleet:
            roster = await fleet.roster()
        states = {known.id: state_of(known, roster.time) for known in roster.devices.values()}
        here = [known for known in roster.devices.values() if states[known.id] is not State.REVOKED]
        return all(states[known.id] is State.ONLINE and is_settled(known) for known in here)

    await eventually(all_are, "the devices have followed", PATIENCE_SECONDS)


async def carried_out() -> None:
    """Until every device has done what was commanded last, and the hub's copy for the audit has that too."""

    async def is_done() -> bool:
        async with Fleet() as fleet:
            newest = (await fleet.commands.recent(1))[0]
            rows = await (await fleet.commands.get(newest.id)).results()
            audited = [record.id for record in await read_audit(Admin(fleet.client), None)]
        return newest.id in audited and all(row.is_over for row in rows.values())

    await eventually(is_done, "the newest command is carried out", PATIENCE_SECONDS)


def after(command: str, here: set[str]) -> set[str]:
    """Which devices answer when the command has had its effect."""
    named = set(re.findall(r"pi-\d\d", command))
    if re.search(r" (cut|revoke) ", command):
        return here - named
    return here | named if re.search(r" (restore|unrevoke) ", command) else here


@pytest.mark.timeout(600)
def test_the_tour_shows_what_it_promises(tmp_path: Path) -> None:
    lines = tour()
    assert len(lines) >= 7, "the tour was found in the README"
    demo = start_cli("demo", "--dir", str(tmp_path / "demo"))
    try:
        for said in demo.stdout or ():
            if "The demo stays up" in said:
                break
        here = {"pi-01", "pi-02", "pi-03"}
        for line in lines:
            # A reader types more slowly than a test: what was ordered takes a moment to show, and a busy machine cuts links for a moment.
            asyncio.run(until("those are there", lambda outcome, here=here: {row.id for row in outcome.answered} == here))
            if line.command.startswith(("edgeagent metrics", "edgeagent events")):
                asyncio.run(eventually(lambda line=line: shows(line), f"$ {line.command}"))
            else:
                assert gist(type_line(line.command)) == gist(line.shown), f"$ {line.command}"
            here = after(line.command, here)
            if line.command.startswith("edgeagent device"):
                asyncio.run(settled())
            elif " restore " in line.command:
                asyncio.run(until("it is back", lambda outcome, here=here: {row.id for row in outcome.answered} == here))
                asyncio.run(carried_out())
    finally:
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    assert demo.returncode == 0
