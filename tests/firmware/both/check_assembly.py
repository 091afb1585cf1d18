import asyncio

import fakemachine

fakemachine.install()
import app  # noqa: E402
import assembly  # noqa: E402
import commands  # noqa: E402
import config  # noqa: E402
import loader  # noqa: E402
import log  # noqa: E402
import ticks  # noqa: E402
import update  # noqa: E402
from store import Store  # noqa: E402

config.PATH, config.KEPT = "settings.json", "kept"


async def reset_by_update():
    del fakemachine.resets[:]
    update.restart(0)
    for _ in range(1000):
        if fakemachine.resets:
            return True
        await asyncio.sleep(0.001)
    return False


async def test_an_update_resets_the_board_when_what_was_measured_is_in_flash():
    loader.machine = fakemachine
    board = assembly.Assembly(None)
    commands.load("update")
    board.store.put({"a": 1}, ticks.ticks_ms())
    assert await reset_by_update()
    found = Store(ticks.ticks_ms(), config.KEPT, ring_bytes=1024)
    assert (found.boot, found.newest) == (board.store.boot, 1)


async def test_an_update_resets_the_board_also_when_flash_fails():
    def fails():
        raise OSError(5)

    loader.machine, update.before_restart = fakemachine, fails
    assert await reset_by_update()


async def test_the_watchdog_is_fed_between_the_parts_that_are_loaded():
    class Assembly:
        def __init__(self, watchdog):
            self.run = self.runs

        async def runs(self):
            pass

    watchdog, real = fakemachine.WDT(8388), assembly.Assembly
    assembly.Assembly = Assembly
    try:
        await app.main(watchdog)
    finally:
        assembly.Assembly = real
    assert watchdog.fed > 5


def test_what_is_wrong_with_the_flash_is_said_once():
    class Board:
        _told = ""

    class Store:
        problem = "cannot keep readings in flash: it is worn"

    said, board = [], Board()
    log.listen(said.append)
    del said[:]  # what the tests before this one said
    board.store = Store()
    for problem in (Store.problem, Store.problem, ""):
        board.store.problem = problem
        assembly.Assembly._tell_of_flash(board)
    assert said == ["cannot keep readings in flash: it is worn", "readings are kept in flash again"]
