"""Where the firmware begins. The loader calls ``main`` with the watchdog that it armed."""

import asyncio
import gc

_PARTS = ("board", "config", "store", "session", "measuring", "commands", "assembly")


async def main(watchdog=None):
    """For ever. watchdog: fed from now on; None: there is none."""
    # Before anything is loaded: else what stays lies scattered over the heap, and TLS finds no 16 KB in one piece.
    if hasattr(gc, "mem_free"):
        gc.threshold(16384)
    for each in _PARTS:  # where they have to be compiled, all together take longer than the watchdog waits
        if watchdog:
            watchdog.feed()
        __import__(each)
    if watchdog:
        watchdog.feed()
    from assembly import Assembly

    await Assembly(watchdog).run()


def run(watchdog=None):
    """As by the loader; Ctrl-C leads to the REPL, and nothing resets the board there."""
    try:
        asyncio.run(main(watchdog))
    except KeyboardInterrupt:
        import board

        board.disarm()
        raise
