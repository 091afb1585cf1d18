"""What a command's durability costs: from the moment in which it is sent to the results on the hub, one device and many, beside a live
query to the same devices and a bare NATS request; and after an outage in which a thousand had to wait.

The many agents share the machine's cores with the hub and everything else here.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

from edgeagent import localsubjects, settings, status, subjects, wire
from edgeagent.command import Result, is_final, new_id
from edgeagent.demo.fleet import DemoFleet
from edgeagent.demo.layout import QUICK
from edgeagent.fleet import Fleet
from edgeagent.fleet.commandlogs import append
from edgeagent.fleet.commandorder import Order
from edgeagent.journal import FILE, Journal
from edgeagent.journalrows import New, Step, mark_of
from edgeagent.link import Client, connect, settle
from edgeagent.subjects import Scope
from tests.bench.config import links, p99
from tests.bench.fleet import pid_of, running
from tests.bench.query import plain

DEVICE, DEVICES = "pi-01", 50
#: How many commands to one device and to many. A device reads a log once a second at most, so they are a bit further apart.
COMMANDS, ROUNDS, APART_SECONDS = 30, 20, 1.2
#: How many wait for a device that is away, for what sequential action, and over which round trips they come, in seconds.
WAITING, ACTION, TRIPS = 1000, "app.bench.nothing", (0.0, 0.1)
PATIENCE_SECONDS = 300.0


async def main() -> None:
    print("milliseconds until everybody has answered                 p50      p99  x a request")
    for count, rounds in ((1, COMMANDS), (DEVICES, ROUNDS)):
        await _print_rounds(count, rounds)
    print(f"\nseconds from the link's return to the last result of {WAITING} waiting commands, and what each costs the device")
    print("  round trip                      in all  a second   written to disk a command   the journal alone")
    for trip in TRIPS:
        await _print_outage(trip)


# ---- one command to many -----------------------------------------------------------------------------------------------------


async def _print_rounds(count: int, rounds: int) -> None:
    async with running(count) as demo, _operator() as (fleet, heard):
        port = status.read(settings.load(demo.folder.settings(DEVICE)).status_file).leaf.port
        least = await plain(port, count, rounds)
        asked = [await _timed(fleet.query()) for _ in range(rounds)]
        sent = [await _command(fleet, heard, count) for _ in range(rounds)]
    for what, times in (
        (f"{count} plain connections, one request", least),
        (f"{count} agents, live query", asked),
        (f"{count} agents, ping as a command: each", [seconds for one in sent for seconds in one]),
        *([(f"{count} agents, ping as a command: all", [max(one) for one in sent])] if count > 1 else []),
    ):
        middle, ratio = statistics.median(times), statistics.median(times) / statistics.median(least)
        print(f"  {what:<46} {middle * 1000:9.1f} {p99(times) * 1000:8.1f} {ratio:9.1f}")


async def _timed(work: Any) -> float:
    begun = time.monotonic()
    await work
    return time.monotonic() - begun


async def _command(fleet: Fleet, heard: Heard, count: int) -> list[float]:
    """Send one to all of them; seconds until each one's end is on the hub. Then a pause."""
    order = await fleet.commands.prepare("ping", everybody=True)
    begun = time.monotonic()
    await fleet.commands.send(order)
    times = await heard.ends(order.id, count)
    await asyncio.sleep(APART_SECONDS)
    return [moment - begun for moment in times]


class Heard:
    """When the end of a command was republished by the hub, by command and device. client: a person's."""

    def __init__(self, client: Client) -> None:
        self._client, self._news = client, asyncio.Event()
        self._ends: dict[str, dict[str, float]] = {}

    async def start(self) -> None:
        await self._client.subscribe(subjects.live("*", "result.*"), cb=self._take, pending_msgs_limit=-1)
        await settle(self._client, what="hear results")

    async def _take(self, message: Any) -> None:
        result = wire.decode(message.data, Result)
        if is_final(result.state):
            assert result.state == "succeeded", result
            self._ends.setdefault(result.id, {})[subjects.device_of(message.subject)] = time.monotonic()
            self._news.set()

    async def ends(self, command: str, count: int) -> list[float]:
        """Of one command on so many devices, once all are known."""
        await self._until(lambda: len(self._ends.get(command, ())) >= count)
        return list(self._ends[command].values())

    async def last(self, commands: Iterable[str]) -> float:
        """When the last of these ended on one device, once all have."""
        wanted = list(commands)
        await self._until(lambda: all(name in self._ends for name in wanted))
        return max(moment for name in wanted for moment in self._ends[name].values())

    async def _until(self, true: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not true():
                self._news.clear()
                await self._news.wait()

        await asyncio.wait_for(wait(), PATIENCE_SECONDS)


@contextlib.asynccontextmanager
async def _operator() -> AsyncIterator[tuple[Fleet, Heard]]:
    async with Fleet() as fleet:
        heard = Heard(fleet.client)
        await heard.start()
        yield fleet, heard


# ---- after an outage ---------------------------------------------------------------------------------------------------------


async def _print_outage(trip: float) -> None:
    async with running(1, QUICK, allow=ACTION) as demo, _operator() as (fleet, heard), _program(demo), links(demo) as seen:
        cable = demo.cable(DEVICE)
        await cable.cut()
        await seen.gone()
        ids = await _send(fleet, WAITING)
        before = _written(demo)
        cable.delay_seconds = trip / 2
        await cable.restore()
        linked = await seen.came()
        seconds = await heard.last(ids) - linked
        written = (_written(demo) - before) / WAITING
        alone = await asyncio.to_thread(_journal_alone, demo.folder.path)
    what = f"{trip * 1000:g} ms"
    print(f"  {what:<28} {seconds:9.2f} {WAITING / seconds:9.0f} {written / 1024:19.1f} KiB {alone:21.2f} s")


async def _send(fleet: Fleet, count: int) -> list[str]:
    """Write so many into the device's log; their ids."""
    order: Order = await fleet.commands.prepare(ACTION, devices=[DEVICE])
    made = [order.renewed().entry for _ in range(count)]
    for entry in made:
        await append(fleet.client, fleet.login, Scope.device(DEVICE), entry)
    return [entry.id for entry in made]


@contextlib.asynccontextmanager
async def _program(demo: DemoFleet) -> AsyncIterator[None]:
    """The program on the device that does nothing when it is told to."""
    port = status.read(settings.load(demo.folder.settings(DEVICE)).status_file).leaf.port
    url = f"nats://127.0.0.1:{port}"
    client = await connect(url, what="reach the leaf", name="bench", inbox_prefix="_INBOX.bench")

    async def answer(message: Any) -> None:
        await message.respond(b"{}")

    await client.subscribe(localsubjects.local_action("bench", "nothing"), cb=answer)
    await settle(client, what="listen")
    try:
        yield
    finally:
        await client.close()


def _written(demo: DemoFleet) -> int:
    """What the agent has had written to the disk so far, in bytes."""
    lines = Path(f"/proc/{pid_of(demo, DEVICE, 'agent')}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def _journal_alone(folder: Path) -> float:
    """Seconds that the journal takes for as many commands, one after the other, when nothing else is done."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        journal = Journal(Path(name) / FILE)
        made = [Result(id=new_id(time.time(), "U" * 56), state="accepted", action=ACTION, nonce="0" * 32) for _ in range(WAITING)]
        begun = time.monotonic()
        journal.take("device.pi-01", "log", [Step(number, "0" * 64, 1 << 40, _new(each)) for number, each in enumerate(made, 1)])
        journal.fence([(each.id, 1) for each in made])
        for each in made:
            journal.begin(each, "boot")
            journal.write(each)
        journal.settle([(each.id, 1) for each in made])
        seconds = time.monotonic() - begun
        journal.close()
    return seconds


def _new(result: Result) -> New:
    return New(result, "{}", mark_of(result.action, "{}"), "U" * 56, 1 << 40)
