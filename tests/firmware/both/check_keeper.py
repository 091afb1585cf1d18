import asyncio

import keeper
import log
from ticks import ticks_add


class Board:
    """Its clock stands still until a test moves it."""

    def __init__(self):
        self.now = self.fed = self.resets = 0
        self.keeper = keeper.Keeper(self.feed, self.reset, first_pause=0.001, now=lambda: self.now)

    def feed(self):
        self.fed += 1

    def reset(self):
        self.resets += 1


async def until(is_so):
    for _ in range(2000):
        if is_so():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to that")


async def test_a_task_that_hangs_starves_the_watchdog():
    board, hears = Board(), []

    async def lives():
        while True:
            board.keeper.beat("lives")
            await asyncio.sleep(0.001)

    async def hangs():
        hears.append(1)
        await asyncio.sleep(1000)

    board.keeper.start("lives", lives, limit_seconds=2)
    board.keeper.start("hangs", hangs, limit_seconds=5)
    await until(lambda: hears)
    board.now = 4000
    await until(lambda: board.keeper._tasks["lives"].beat == 4000)
    assert board.keeper.look() == [] and board.fed == 1
    board.now = 5001
    await until(lambda: board.keeper._tasks["lives"].beat == 5001)
    assert board.keeper.look() == ["hangs"] and board.fed == 1
    assert board.keeper.look() == ["hangs"] and board.fed == 1
    board.keeper.beat("hangs")
    assert board.keeper.look() == [] and board.fed == 2
    board.keeper.beat("nobody")
    board.keeper.stop()


async def test_one_that_crashes_is_started_again_and_said():
    board, runs, said = Board(), [], []
    log.listen(said.append)
    del said[:]  # what the tests before this one said

    async def crashes():
        runs.append(1)
        if len(runs) < 4:
            raise OSError(5, "it is broken")
        await asyncio.sleep(1000)

    board.keeper.start("crashes", crashes)
    await until(lambda: len(runs) == 4)
    assert board.resets == 0 and len([each for each in said if each.startswith("crashes: ")]) == 3
    board.keeper.stop()


async def test_five_failures_in_a_row_reset_the_board():
    board = Board()

    async def crashes():
        raise ValueError("again")

    board.keeper.start("crashes", crashes)
    await until(lambda: board.resets)
    assert board.keeper._tasks["crashes"].failures == 5
    board.keeper.stop()


async def test_failures_far_apart_do_not():
    board, runs = Board(), []

    async def crashes():
        runs.append(1)
        board.now += 61000  # it ran well for a minute
        raise ValueError("again")

    board.keeper.start("crashes", crashes)
    await until(lambda: len(runs) == 12)
    assert board.resets == 0
    board.keeper.stop()


async def test_who_rests_after_a_failure_is_not_taken_for_hung():
    board = Board()
    board.keeper._first_pause = 1000

    async def ends():
        return

    board.keeper.start("ends", ends, limit_seconds=1)
    await until(lambda: board.keeper._tasks["ends"].is_resting)
    board.now = 10000
    assert board.keeper.look() == [] and board.fed == 1
    board.keeper.stop()


def test_pauses_grow_and_have_an_end():
    each = keeper.Keeper(lambda: None, lambda: None, first_pause=4, now=lambda: 0)
    task = keeper._Task("x", None, 1000)
    assert [each._pause(task, 0) for _ in range(5)] == [4, 8, 16, 30, 30]


async def test_the_supervisor_feeds():
    board = Board()
    keeper.LOOK_SECONDS = 0.001
    running = asyncio.create_task(board.keeper.run())
    await until(lambda: board.fed > 3)
    running.cancel()


async def test_who_ran_for_a_week_did_not_fail_in_a_row():
    board, runs = Board(), []

    async def crashes():
        runs.append(1)
        board.now = ticks_add(board.now, 7 * 86400000)
        raise OSError(5)

    board.keeper.start("crashes", crashes)
    await until(lambda: len(runs) > keeper.FAILURES)
    board.keeper.stop()
    assert not board.resets


async def test_a_traceback_is_printed_in_one_piece():
    pieces = []

    class Sys:
        @staticmethod
        def print_exception(error, file=None):
            pieces.append(file)

    real, log.sys = log.sys, Sys
    try:
        log.failed("x", OSError(5))
    finally:
        log.sys = real
    assert len(pieces) == 1 and pieces[0] is not None
