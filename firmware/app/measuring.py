"""Measures each sensor at its interval. One that fails is left out and tried again, and holds up nothing."""

import asyncio

import log
from ticks import Uptime, ticks_ms

_LOOK_MS, _WATCH_MS = 1000, 10  # the longest sleep; with inputs whose changes count
_LONGEST_PAUSE_MS = 300_000  # until a sensor that fails is tried again
_READ_SECONDS = 5


class _Probe:
    """A sensor, and when it is due: once in each slot of its interval. So those of the same interval are due together."""

    def __init__(self, name, make):
        self.name, self._make, self._sensor = name, make, None
        self._interval, self._slot = 0, -1
        self._failures, self._not_before = 0, 0

    def is_due(self, uptime, interval):
        slot = uptime // interval
        if interval != self._interval:
            self._slot = self._slot if self._slot < 0 else slot
            self._interval = interval
        if slot == self._slot or uptime < self._not_before:
            return False
        self._slot = slot
        return True

    def until_due(self, uptime):
        """Milliseconds, when it is not due now."""
        return self._interval - uptime % self._interval

    def has_changed(self, now, uptime):
        changed = getattr(self._sensor, "changed", None)
        try:
            return changed is not None and changed(now)
        except Exception as error:
            self._failed(error, uptime)
            return False

    @property
    def is_watched(self):
        return hasattr(self._sensor, "changed")

    async def read(self, uptime):
        """{name: value}; {} if it fails."""
        try:
            if self._sensor is None:
                self._sensor = self._make()
            values = self._sensor.read()
            if hasattr(values, "send"):
                values = await asyncio.wait_for(values, _READ_SECONDS)
            named = {self._called(quantity): value for quantity, value in values.items()}
        except Exception as error:
            self._failed(error, uptime)
            return {}
        if self._failures:
            log.say(f"sensor {self.name or 'chip'} works again")
            self._failures = self._not_before = 0
        return named

    def _called(self, quantity):
        return f"{self.name}.{quantity}" if self.name and quantity else self.name or quantity

    def _failed(self, error, uptime):
        self._sensor = None  # it may have lost its power, and what it was told: open it anew
        self._failures += 1
        pause = self._interval << min(self._failures - 1, 10)
        self._not_before = uptime + min(pause, max(_LONGEST_PAUSE_MS, self._interval)) - self._interval // 2
        if self._failures == 1:
            log.say(f"sensor {self.name or 'chip'} does not work, and is tried again: {log.reason(error)}")

    @property
    def is_failing(self):
        return self._failures > 0


class Measuring:
    """sensors: as Settings has them. intervals: an Intervals. put(values, now): takes a reading. states(): what is switched how."""

    def __init__(self, sensors, intervals, put, states=dict, now=ticks_ms):
        self._probes = [_Probe(each.name, each.make) for each in sensors]
        self._states, self._intervals, self._put, self._now = states, intervals, put, now
        self._round = _Probe(None, None)
        self._uptime = Uptime(now())
        self._lock, self._beat = asyncio.Lock(), lambda: None

    @property
    def failing(self):
        """The names of the sensors that don't work."""
        return [each.name or "chip" for each in self._probes if each.is_failing]

    async def run(self, beat):
        """For ever. beat(): called at least every few seconds, also while sensors that answer late are waited for."""
        self._beat = beat
        while True:
            beat()
            await self.step()
            await asyncio.sleep(self._pause_ms() / 1000)

    async def step(self):
        """Measure what is due now; it is one reading."""
        async with self._lock:
            now = self._now()
            uptime = self._uptime.at(now)
            found = {}
            for each in self._probes:
                self._beat()
                is_due = each.is_due(uptime, self._milliseconds(each.name))
                if is_due or each.has_changed(now, uptime):
                    found.update(await each.read(uptime))
            if self._round.is_due(uptime, self._milliseconds(None)):
                found.update(self._states())
            self.note(found)

    async def read(self):
        """Measure all now, whatever is due; returns the values of the reading."""
        async with self._lock:
            found, uptime = {}, self._uptime.at(self._now())
            for each in self._probes:
                self._beat()
                found.update(await each.read(uptime))
            found.update(self._states())
            self.note(found)
            return found

    def note(self, values):
        """A reading at once."""
        if values:
            self._put(values, self._now())

    def _milliseconds(self, name):
        return max(1, int(self._intervals.of(name) * 1000))

    def _pause_ms(self):
        if any(each.is_watched for each in self._probes):
            return _WATCH_MS
        uptime = self._uptime.at(self._now())
        waits = [each.until_due(uptime) for each in self._probes]
        return min(_LOOK_MS, self._round.until_due(uptime), *waits)
