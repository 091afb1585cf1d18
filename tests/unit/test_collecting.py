"""Rounds of collectors: none holds up the others for long, and what they do is counted and told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from edgeagent.collectors import Collector, Metric, Round
from edgeagent.machine import Machine
from edgeagent.patterns.collecting import MAX_SAMPLES, Collecting
from edgeagent.patterns.collectorhealth import EVENTS, FILE, Healths, Told
from edgeagent.sample import Sample
from edgeagent.schema import SamplingSettings
from edgeagent.settings import Settings
from tests.support.servers import until

A = Metric("a", "1", "An a.")


def made(name: str, collect: Callable[[Round], Iterable[Sample]], seconds: float = 0.0) -> Collector:
    return Collector(name, (A,), lambda: collect, "tests", seconds)


def good(round: Round) -> list[Sample]:
    return [A(0.5)]


class Board:
    """Runs rounds; ``gate`` opens for the collectors that wait for it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.gate = threading.Event()
        self.healths = Healths(self._tell)
        self.clock = 0.0

    def _tell(self, severity: str, kind: str, text: str, **data: Any) -> None:
        self.told.append((severity, kind, text))

    def hang(self, round: Round) -> list[Sample]:
        self.gate.wait()
        return [A(0.25)]

    async def run(self, collecting: Collecting, *, disabled: tuple[str, ...] = ()) -> list[str]:
        """The names of the samples of a round, with the collector of those about one."""
        settings = Settings(sampling=SamplingSettings(disabled=[*disabled]))
        found = await collecting.run(Round(machine=Machine(), settings=settings, clock=self.clock))
        self.clock += 30
        return [" ".join((sample.metric, *sample.attributes.values())) for sample in found]


@pytest.fixture
async def board() -> AsyncIterator[Board]:
    made = Board()
    yield made
    made.gate.set()


async def test_one_that_raises_costs_its_own_samples_and_is_told_once(board: Board) -> None:
    def bad(round: Round) -> list[Sample]:
        raise OSError("no such sensor")

    collecting = Collecting(board.healths, [made("bad", bad), made("good", good)])
    failed = ["edgeagent.collector.failures bad", "edgeagent.collector.duration bad"]
    assert await board.run(collecting) == [*failed, "a", "edgeagent.collector.duration good"]
    assert await board.run(collecting) == [*failed, "a"], "how long the good one took is worth a sample once an hour"
    bad_one, good_one = board.healths.all()
    assert (bad_one.runs, bad_one.failures, bad_one.samples, bad_one.error) == (2, 2, 0, "OSError: no such sensor")
    assert (good_one.runs, good_one.failures, good_one.samples, good_one.error) == (2, 0, 2, "")
    assert board.told == [("warning", "collector.failed", "the collector bad failed: OSError: no such sensor")]


async def test_one_that_fails_now_and_then_is_not_told_each_time(board: Board) -> None:
    broken = iter([True, False] * 10)

    def flaky(round: Round) -> list[Sample]:
        return [] if next(broken) else [A(1)]

    def strict(round: Round) -> list[Sample]:
        found = flaky(round)
        if not found:
            raise ValueError("again")
        return found

    collecting = Collecting(board.healths, [made("flaky", strict)])
    for _ in range(20):
        await board.run(collecting)
    assert board.healths.of("flaky").failures == 10 and len(board.told) == EVENTS


async def test_what_is_not_declared_or_too_much_is_refused(board: Board) -> None:
    def other(round: Round) -> list[Sample]:
        return [Sample("b", 1)]

    def flood(round: Round) -> Iterable[Sample]:
        while True:
            yield A(1)

    collecting = Collecting(board.healths, [made("flood", flood), made("other", other)])
    await board.run(collecting)
    assert board.healths.of("flood").error == f"ValueError: it gave more than {MAX_SAMPLES} samples"
    assert board.healths.of("other").error == "ValueError: the metric b is not declared"


async def test_units_and_kinds_are_as_declared(board: Board) -> None:
    def plain(round: Round) -> list[Sample]:
        return [Sample("a", 3)]

    given = Round(machine=Machine(), settings=Settings(), clock=0.0)
    assert (await Collecting(board.healths, [made("plain", plain)]).run(given))[0] == Sample("a", 3, unit="1")


async def test_one_that_hangs_is_left_behind_until_it_comes_back(board: Board) -> None:
    collectors = [made("first", good), made("hangs", board.hang), made("last", good)]
    collecting = Collecting(board.healths, collectors, hangs_seconds=2.0)
    found = await board.run(collecting)
    assert found.count("a") == 2 and "edgeagent.collector.failures hangs" in found
    assert board.healths.of("hangs").stuck
    assert (await board.run(collecting)).count("a") == 2 and board.healths.of("hangs").failures == 1, "it is not asked again"
    board.gate.set()

    async def back() -> bool:
        return (await board.run(collecting)).count("a") == 3

    await until(back, "it is asked again")
    assert not board.healths.of("hangs").stuck and not board.healths.of("hangs").error


async def test_disabled_ones_and_those_that_are_not_due_do_not_run(board: Board) -> None:
    collecting = Collecting(board.healths, [made("hourly", good, 3600), made("each", good)])
    assert (await board.run(collecting)).count("a") == 2
    assert (await board.run(collecting)).count("a") == 1
    assert await board.run(collecting, disabled=("each",)) == []
    board.clock += 3600
    assert (await board.run(collecting)).count("a") == 2


async def test_the_loop_goes_on_meanwhile(board: Board) -> None:
    collecting = Collecting(board.healths, [made("hangs", board.hang)], hangs_seconds=60)
    running = asyncio.create_task(board.run(collecting))
    asyncio.get_running_loop().call_soon(board.gate.set)
    assert "a" in await running


class Agent:
    """Runs of an agent, one after the other; ``reached``: the hub takes what is told."""

    def __init__(self, folder: Path) -> None:
        self.path, self.told, self.reached = folder / FILE, list[str](), True
        self.start()

    def start(self, *names: str) -> None:
        self.told.clear()
        self.healths = Healths(self._tell, told=Told(self.path))
        self.healths.only(names or ("oven", "broken"))
        self.healths.unusable("broken", "it is no program")

    def _tell(self, severity: str, kind: str, text: str, *, on_sent: Callable[[], None], collector: str, **data: Any) -> None:
        self.told.append(collector)
        if self.reached:
            on_sent()

    def ran(self, error: str = "") -> None:
        list(self.healths.ran("oven", seconds=1, samples=1, error=error))


def test_what_fails_is_told_once_over_restarts(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.ran("no")
    assert agent.told == ["broken", "oven"]
    agent.start()
    agent.ran("no")
    assert agent.told == []
    agent.ran()
    agent.ran("no")
    assert agent.told == ["oven"], "it was good meanwhile"
    agent.start("broken")
    agent.ran("no")
    assert agent.told == ["oven"], "it was taken away meanwhile"


def test_what_the_hub_never_heard_is_told_again_after_a_restart(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.reached = False
    agent.ran("no")
    agent.start()
    assert agent.told == [], "it heard of the other one"
    agent.ran("no")
    assert agent.told == ["oven"]
    agent.path.write_text("nonsense")
    agent.start()
    assert agent.told == ["broken"]
