"""Keeps the tasks of the board running, and feeds the watchdog only while every one of them shows that it is alive."""

import asyncio

import log
from ticks import ticks_diff, ticks_ms

FAILURES = 5  # in a row, and the board is reset
HEALTHY_MS = 60_000  # who ran so long did not fail in a row
LONGEST_PAUSE = 30
LOOK_SECONDS = 0.5


class _Task:
    def __init__(self, name, work, limit_ms):
        self.name, self.work, self.limit_ms = name, work, limit_ms
        self.beat, self.failures = 0, 0
        self.is_resting = self.is_hung = False
        self.handle = None


class Keeper:
    """feed: of the watchdog. reset: of the board. first_pause: seconds before who failed is started again; each next one is twice as long."""

    def __init__(self, feed, reset, first_pause=1, now=ticks_ms):
        self._feed, self._reset, self._first_pause, self._now = feed, reset, first_pause, now
        self._tasks = {}

    def start(self, name, work, limit_seconds=30):
        """Run the coroutine function ``work`` for ever; it has to beat within the limit."""
        task = self._tasks[name] = _Task(name, work, limit_seconds * 1000)
        task.beat = self._now()
        task.handle = asyncio.create_task(self._keep(task))

    def beat(self, name):
        """``name`` is alive. Of a name that nobody started nothing is expected."""
        task = self._tasks.get(name)
        if task:
            task.beat = self._now()

    def look(self):
        """Feed the watchdog if all are alive; returns the names of those that are not."""
        now = self._now()
        hung = [each for each in self._tasks.values() if not each.is_resting and ticks_diff(now, each.beat) > each.limit_ms]
        for task in self._tasks.values():
            if (task in hung) != task.is_hung:
                task.is_hung = not task.is_hung
                log.say(task.name + (" hangs: the watchdog is not fed" if task.is_hung else " is alive again"))
        if not hung:
            self._feed()
        return [each.name for each in hung]

    async def run(self):
        """For ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def stop(self):
        for task in self._tasks.values():
            task.handle.cancel()
        self._tasks = {}

    async def _keep(self, task):
        while True:
            began = task.beat = self._now()
            task.is_resting = False
            try:
                await task.work()
                log.say(f"{task.name} ended, and it never should")
            except Exception as error:
                log.failed(task.name, error)
            task.is_resting = True
            await asyncio.sleep(self._pause(task, began))

    def _pause(self, task, began):
        if not 0 <= ticks_diff(self._now(), began) <= HEALTHY_MS:  # after 6 days it is negative
            task.failures = 0
        task.failures += 1
        if task.failures >= FAILURES:
            log.say(f"{task.name} failed {FAILURES} times in a row: the board is reset")
            self._reset()
        return min(self._first_pause * (1 << (task.failures - 1)), LONGEST_PAUSE)
