"""Real programs that measure, good ones and those that must be cut off; what is left of them is nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edgeagent.machine import Machine
from edgeagent.patterns import programcollectors, samplelines
from edgeagent.patterns.collectorhealth import Healths
from edgeagent.patterns.programcollectors import ProgramCollector, load_folder
from edgeagent.places import COLLECTORS
from edgeagent.sample import Sample
from tests.support.servers import is_alive, until


class Board:
    """The folder of a device, and what its programs gave."""

    def __init__(self, folder: Path) -> None:
        self.root, self.pids = folder / "root", folder / "pids"
        self.folder = self.root / str(COLLECTORS).lstrip("/")
        self.folder.mkdir(parents=True)
        self.pids.mkdir()
        self.samples: list[tuple[str, Sample]] = []
        self.told: list[str] = []
        self.healths = Healths(self._tell)
        self.tasks: list[asyncio.Task[None]] = []

    def _tell(self, severity: str, kind: str, text: str, **data: Any) -> None:
        self.told.append(text)

    def take(self, source: str, found: list[Sample]) -> None:
        self.samples += [(source, sample) for sample in found]

    def write(self, name: str, script: str, manifest: str | None = None) -> None:
        """A shell script; ``$PIDS`` in it is a folder for pids."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\nPIDS={self.pids}\n{script}\n")
        path.chmod(0o755)
        if manifest is not None:
            (self.folder / f"{name}.toml").write_text(manifest)

    def program(self, name: str) -> ProgramCollector:
        found, failures = load_folder(Machine(self.root), COLLECTORS)
        assert not failures
        return next(each for each in found if each.name == name)

    async def once(self, name: str) -> str:
        """Why the run was no good."""
        return await self.program(name).once(self.take, self.healths)

    def keep(self, name: str) -> ProgramCollector:
        """Have it run as often as it shall, until the test ends."""
        program = self.program(name)
        self.tasks.append(asyncio.create_task(program.keep(self.take, self.healths)))
        return program

    def values(self, source: str) -> list[float]:
        return [sample.value for each, sample in self.samples if each == source]

    def pid(self, name: str) -> int:
        return int((self.pids / name).read_text())


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for file in (tmp_path / "pids").glob("*"):
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(file.read_text()), signal.SIGKILL)


@pytest_asyncio.fixture
async def board(folders: Path) -> AsyncIterator[Board]:
    made = Board(folders)
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_what_they_may_write(board: Board) -> None:
    board.write(
        "oven",
        """
        echo '{"temperature": 180.5, "side": "left"}'
        echo 'fan,side=right speed=900i,on=true'
        echo '{"samples": [{"metric": "oven.door", "value": 1, "unit": "1", "time": 5}]}'
        printf 7
        """,
    )
    assert await board.once("oven") == ""
    assert [sample for source, sample in board.samples if source == "oven"] == [
        Sample("oven.temperature", 180.5, {"side": "left"}),
        Sample("fan.on", 1, {"side": "right"}),
        Sample("fan.speed", 900, {"side": "right"}),
        Sample("oven.door", 1, {}, 5.0, "1"),
        Sample("oven", 7),
    ]
    (health,) = board.healths.all()
    assert (health.runs, health.failures, health.samples, health.malformed) == (1, 0, 5, 0)


async def test_bad_lines_are_counted_and_the_others_count(board: Board) -> None:
    board.write("oven", "echo 1; echo '{'; echo 2; echo two words are none, really")
    assert (await board.once("oven")).startswith("a line is no sample: ")
    assert board.values("oven") == [1, 2] and board.healths.of("oven").malformed == 2
    assert len(board.told) == 1 and board.told[0].startswith("the collector oven failed: a line is no sample")


async def test_one_that_fails_says_why_with_its_last_words(board: Board) -> None:
    board.write("oven", "echo 1; echo 'no such sensor' >&2; exit 3")
    assert await board.once("oven") == "it ended with the exit code 3: no such sensor"
    assert board.values("oven") == [1]


FORKS = (
    "(setsid sh -c 'echo $$ > $0/fork; exec sleep 600' $PIDS >/dev/null 2>&1 &)\nwhile [ ! -s $PIDS/fork ]; do sleep 0.01; done\n"
)


@pytest.mark.parametrize(
    ("script", "manifest", "why"),
    [
        ("sleep 600", "timeout_seconds = 2", "it did not end within 2 s, and was cut off"),
        ("trap '' TERM\nsleep 600 & wait; sleep 600", "timeout_seconds = 2", "it did not end within 2 s, and was cut off"),
        ("yes 'a=1,b=2,c=3' | head -c 1000000000", "timeout_seconds = 60", "it wrote more than 256 KiB, and was cut off"),
        ("head -c 1000000000 /dev/zero", "timeout_seconds = 60", "it wrote a line of more than 8 KiB, and was cut off"),
        ("yes 'oven t=1'", "keeps_running = true", "it wrote more than 20 lines a second, and was cut off"),
        ("head -c 100000 /dev/zero; sleep 600", "keeps_running = true", "it wrote a line of more than 8 KiB, and was cut off"),
    ],
    ids=["late", "deaf", "gigabyte", "endless-line", "flood", "endless-line-for-ever"],
)
async def test_what_is_cut_off_ends_with_all_that_it_started(
    board: Board, monkeypatch: pytest.MonkeyPatch, script: str, manifest: str, why: str
) -> None:
    monkeypatch.setattr(programcollectors, "GRACE_SECONDS", 0.3)
    board.write("bad", f"echo $$ > $PIDS/bad\n{FORKS}{script}", manifest)
    assert await board.once("bad") == why
    assert not is_alive(board.pid("bad")) and not is_alive(board.pid("fork"))
    assert board.told == [f"the collector bad failed: {why}"] and board.healths.of("bad").failures == 1
    assert len(board.values("bad")) < 2 * samplelines.BURST_LINES
    assert [sample.value for source, sample in board.samples if sample.metric == "edgeagent.collector.failures"] == [1]


async def test_a_fork_does_not_outlive_a_good_run_either(board: Board) -> None:
    board.write("oven", f"{FORKS}echo 1")
    assert await board.once("oven") == "" and board.values("oven") == [1]
    await until(lambda: not is_alive(board.pid("fork")), "it ends")


async def test_the_others_go_on(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programcollectors, "GRACE_SECONDS", 0.3)
    board.write("bad", "trap '' TERM\nyes 'oven t=1'", "interval_seconds = 1")
    board.write("good", "echo 1", "interval_seconds = 1")
    board.keep("bad")
    board.keep("good")
    await until(lambda: board.healths.of("bad").failures >= 2 and len(board.values("good")) >= 3, "both run again and again")
    assert board.healths.of("good").failures == 0


async def test_one_that_keeps_running_is_heard_as_it_speaks_and_started_again(board: Board) -> None:
    board.write("stream", "echo $$ > $PIDS/stream; echo 1; while :; do sleep 0.05; done", "keeps_running = true")
    board.keep("stream")
    await until(lambda: board.values("stream") == [1], "its first line")
    assert board.healths.of("stream").runs == 0, "it still runs"
    os.kill(board.pid("stream"), signal.SIGKILL)
    await until(lambda: board.values("stream") == [1, 1], "it runs again")
    assert board.healths.of("stream").error == "it was ended by SIGKILL"


async def test_a_disabled_one_is_ended_and_comes_back(board: Board) -> None:
    board.write("stream", "echo $$ > $PIDS/stream; echo 1; while :; do sleep 0.05; done", "keeps_running = true")
    program = board.keep("stream")
    await until(lambda: board.values("stream") == [1], "it runs")
    pid = board.pid("stream")
    program.set(interval_seconds=30, enabled=False)
    await until(lambda: board.healths.of("stream").runs == 1, "it ended")
    assert not is_alive(pid) and not board.healths.of("stream").error
    program.set(interval_seconds=30, enabled=True)
    await until(lambda: board.values("stream") == [1, 1], "it runs again")


async def test_it_ends_with_the_agent(board: Board) -> None:
    board.write("stream", "echo $$ > $PIDS/stream; echo 1; while :; do sleep 0.05; done", "keeps_running = true")
    board.keep("stream")
    await until(lambda: board.values("stream") == [1], "it runs")
    board.tasks[0].cancel()
    await asyncio.wait(board.tasks)
    assert not is_alive(board.pid("stream"))


def test_what_cannot_be_used_is_named(folders: Path) -> None:
    board = Board(folders)
    board.write("good", "echo 1")
    board.write("late", "echo 1", "interval_second = 5")
    board.write("With.Dot", "echo 1")
    board.write("open", "echo 1")
    (board.folder / "open").chmod(0o777)
    (board.folder / "text").write_text("no program")
    (board.folder / ".hidden").write_text("nothing")
    found, failures = load_folder(Machine(board.root), COLLECTORS)
    assert [each.name for each in found] == ["good"]
    assert failures["With.Dot"].startswith("its name must be 1 to 63 of") and "interval_second" in failures["late"]
    assert "everybody may write" in failures["open"] and "it is no program" in failures["text"] and len(failures) == 4
    assert load_folder(Machine(folders / "nothing"), COLLECTORS) == ([], {})


def test_a_folder_of_ones_own_must_be_as_closed(folders: Path) -> None:
    board = Board(folders)
    board.write("good", "echo 1")
    linked = folders / "linked"
    linked.symlink_to(board.folder)
    found, failures = load_folder(Machine(), linked)
    assert [each.name for each in found] == ["good"] and not failures
    board.folder.chmod(0o777)
    assert load_folder(Machine(), linked)[0] == [] and "everybody may write" in load_folder(Machine(), linked)[1]["good"]


async def test_one_that_was_opened_to_others_meanwhile_is_not_run(board: Board) -> None:
    board.write("oven", "echo 1")
    program = board.program("oven")
    (board.folder / "oven").chmod(0o777)
    assert "everybody may write" in await program.once(board.take, board.healths) and board.values("oven") == []
