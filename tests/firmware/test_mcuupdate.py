"""An update, from the host to a board and back: the real receiver in MicroPython, whose power is pulled, and versions that do not work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import Failed, Unreachable
from edgeagent.firmware.release import SOURCE, Release, fitting
from edgeagent.patterns.mcuupdate import TRIES, Progress, Updated, update
from tests.support.micropython import APP
from tests.support.updatingboard import UpdatingBoard, release

OLD = release("1.0", lib="x = 1\n" * 900, same="y = 1\n" * 900)
NEW = release("1.1", lib="x = 2\n" * 900, same="y = 1\n" * 900)
FAST = {"pause": 0.0, "away": 5.0, "trial": 5.0}


@pytest.fixture
def board(tmp_path: Path) -> Iterator[UpdatingBoard]:
    with UpdatingBoard(tmp_path / "flash", OLD) as made:
        yield made


async def updated(board: UpdatingBoard, new: Release = NEW, **more: Any) -> Updated:
    return await update("oven", board.command, {SOURCE: new}, **{**FAST, **more})


def changed(new: Release) -> int:
    return sum(len(data) for name, data in new.files.items() if data != OLD.files.get(name))


async def test_what_has_changed_is_sent_and_the_new_version_stays(board: UpdatingBoard) -> None:
    told: list[Progress] = []
    assert await updated(board, progress=told.append) == Updated("1.1", "1.0", changed(NEW), False)
    assert board.state == {"active": "b"} and told[-1] == Progress("trying", NEW.size, NEW.size)
    assert [each.done for each in told] == sorted(each.done for each in told) and len(told) > 10
    count = len(board.asked)
    assert await updated(board) == Updated("1.1", "1.1", 0, True)
    assert set(board.asked[count:]) == {"update.status"}, "nothing is written for what is there already"
    assert (await updated(board, OLD)).version == "1.0" and board.state == {"active": "a"}, "back, if somebody wants that"


async def test_its_power_is_pulled_all_the_time(board: UpdatingBoard) -> None:
    def before(action: str, args: Mapping[str, Any]) -> None:
        if len(board.asked) % 13 == 0 and board.asked[-1] == board.asked[-2]:
            board.unplug()

    board.before = before
    found = await updated(board)
    assert found.version == "1.1" and board.state == {"active": "b"}
    assert board.asked.count("update.begin") > 1
    assert changed(NEW) <= found.sent < 2 * changed(NEW) + 4096, "what was flushed is not sent again"


async def test_a_version_that_does_not_start_is_given_up(board: UpdatingBoard) -> None:
    broken = release("1.1", "raise RuntimeError('no oven')")
    with pytest.raises(Failed, match=r"version 1\.1 did not prove itself, and it runs 1\.0 again"):
        await updated(board, broken)
    assert board.state == {"active": "a", "bad": "1.1"}
    assert sum("RuntimeError: no oven" in line for line in board.printed) == 6, "three tries, and each says it twice"
    assert (await updated(board, NEW)).version == "1.1" and board.state == {"active": "b"}, "and the next one is taken"


async def test_a_flash_that_is_full_of_readings_is_told_with_what_helps(tmp_path: Path) -> None:
    full = release("1.0", update=(APP / "update.py").read_text() + "\nfree_bytes = lambda: 40000\n")
    with UpdatingBoard(tmp_path / "full", full) as board:
        with pytest.raises(Failed, match=r"cannot update oven: .*40000 bytes are free.*\. Readings that it keeps leave first"):
            await updated(board)
        assert board.state == {"active": "a"} and board.asked == ["update.status", "update.begin"]


async def test_a_version_that_never_confirms(board: UpdatingBoard) -> None:
    board.confirms = False
    with pytest.raises(Unreachable, match="still has to prove itself"):
        await updated(board, trial=0.0)
    assert board.state["pending"] == "b" and board.state["tries"] == 1
    with pytest.raises(Failed, match=r"version 1\.1 is on trial"):
        await updated(board, OLD)
    for _ in range(3):  # its timer ends it three times
        board.cut()
        board.do("update.status", {})
    assert board.state == {"active": "a", "bad": "1.1"}


async def test_one_that_is_gone_for_long_is_given_up_and_can_be_done_again(board: UpdatingBoard) -> None:
    def away(action: str, args: Mapping[str, Any]) -> None:
        if action == "update.data":
            board.unplug()

    board.before = away
    with pytest.raises(Unreachable, match=r"it is gone: it is offline\. Once it is back, do it again"):
        await updated(board, away=0.0)
    board.before = lambda action, args: None
    assert (await updated(board)).version == "1.1"


async def test_a_board_without_updates_is_told_at_once() -> None:
    async def command(action: str, args: Mapping[str, Any], seconds: float) -> Any:
        raise Failed("x", "no such command")

    with pytest.raises(Failed, match="no such command"):
        await update("oven", command, {SOURCE: NEW})


LIES: dict[str, Any] = {
    "backwards": {"update.data": {"at": 0}},
    "ahead": {"update.data": {"at": 1 << 40}},
    "words": {"update.file": {"at": "far"}},
    "a list": {"update.file": []},
    "nothing": {"update.begin": None},
    "negative": {"update.file": {"at": -5}},
    "has it all": {"update.file": {"have": True}},
}


@pytest.mark.parametrize("lies", LIES.values(), ids=LIES.keys())
async def test_a_board_that_answers_nonsense_does_not_keep_anybody(lies: dict[str, Any], board: UpdatingBoard) -> None:
    async def command(action: str, args: Mapping[str, Any], seconds: float) -> Any:
        return lies[action] if action in lies else await board.command(action, args, seconds)

    with pytest.raises(Failed):
        await update("oven", command, {SOURCE: NEW}, pause=0.0, away=5.0, trial=5.0)
    assert board.state == {"active": "a"}


async def test_a_board_that_takes_a_byte_at_a_time_and_says_much_of_itself(board: UpdatingBoard) -> None:
    asked: list[str] = []

    async def command(action: str, args: Mapping[str, Any], seconds: float) -> Any:
        asked.append(action)
        found = await board.command(action, args, seconds)
        return {"at": args["at"] + 1} if action == "update.data" else {**found, "version": "1" * 100_000}

    with pytest.raises(Failed):
        await update("oven", command, {SOURCE: NEW}, pause=0.0, away=5.0, trial=5.0)
    assert asked.count("update.data") <= TRIES
    board.cut()
    assert len((await update("oven", command, {SOURCE: OLD}, pause=0.0)).before) == 32


async def test_an_answer_to_the_end_that_is_lost_until_the_version_has_proved_itself(board: UpdatingBoard) -> None:
    async def command(action: str, args: Mapping[str, Any], seconds: float) -> Any:
        found = await board.command(action, args, seconds)
        if action == "update.end":
            while (await board.command("update.status", {}, seconds)).get("pending"):
                pass
            raise Failed("x", "no update is under way")
        return found

    assert (await update("oven", command, {SOURCE: NEW}, pause=0.0, away=5.0, trial=5.0)).version == "1.1"
    assert board.asked.count("update.begin") == 1


def test_the_build_that_fits() -> None:
    compiled = Release("1.1", {"app.mpy": b"M"})
    assert fitting({SOURCE: NEW, "mpy-6.3": compiled}, "6.3") is compiled
    assert fitting({SOURCE: NEW, "mpy-6.3": compiled}, "6.2") is NEW and fitting({SOURCE: NEW}, "") is NEW
