"""What the firmware needs on a board, told by the board itself: run there by ``import probe``, beside the files of a real one.

Each line is ``figure NAME NUMBER``; milliseconds by the board's own clock, bytes of its heap after a collection.
"""

import asyncio
import gc
import sys
from time import ticks_diff, ticks_ms

BEGAN = ticks_ms()
PATIENCE_MS = 60000


def say(name, number):
    print("figure", name, number)


def memory(when):
    """Free, and the longest piece: what TLS wants has to be in one."""
    gc.collect()
    free = gc.mem_free()
    say(when + "_free", free)
    low, high = 0, free
    while high - low > 512:
        middle = (low + high) // 2
        try:
            bytearray(middle)
            low = middle
        except MemoryError:
            high = middle
        gc.collect()
    say(when + "_piece", low)


def passed():
    return ticks_diff(ticks_ms(), BEGAN)


class Dog:
    """A watchdog that only looks how long it had to wait."""

    def __init__(self):
        self.fed, self.longest = ticks_ms(), 0

    def feed(self):
        now = ticks_ms()
        self.longest, self.fed = max(self.longest, ticks_diff(now, self.fed)), now


async def until(name, condition):
    while not condition():
        if passed() > PATIENCE_MS:
            print("figure", name, "never")
            return
        await asyncio.sleep(0.05)
    say(name, passed())


def timed(name, work):
    begins = ticks_ms()
    for _ in range(10):
        work()
    say(name, ticks_diff(ticks_ms(), begins) / 10)


async def look(its, dog):
    memory("started")
    await until("wifi_ms", lambda: its.link._wifi.is_up)
    memory("wifi")
    dog.feed()
    dog.longest = 0  # looking for the longest piece took most of it
    await until("mqtt_ms", lambda: its.link.is_up)
    say("pause_connecting_ms", dog.longest)
    memory("mqtt")
    await until("answered_ms", lambda: its.session.answered)
    await asyncio.sleep(0.6)
    dog.feed()
    dog.longest = 0
    begins = ticks_ms()
    for _ in range(10):
        await its.measuring.read()
    say("reading_ms", ticks_diff(ticks_ms(), begins) / 10)
    newest = its.store.newest
    begins = ticks_ms()
    await until("acknowledged_ms", lambda: its.store.oldest > newest)
    say("ten_readings_there_ms", ticks_diff(ticks_ms(), begins))
    await asyncio.sleep(3)
    say("pause_ms", dog.longest)
    memory("later")
    print("figure problem", its.link.problem or "none")


async def main():
    """As the loader and app.py do."""
    gc.threshold(16384)
    dog = Dog()
    from assembly import Assembly

    say("imported_ms", passed())
    memory("imported")
    its = Assembly(dog)
    task = asyncio.create_task(its.run())
    await look(its, dog)
    task.cancel()


memory("before")
BEGAN = ticks_ms()
import loader  # noqa: E402

slot = loader.running = loader.pick()
say("verified_ms", passed())
sys.path.insert(0, "/" + slot)
asyncio.run(main())
