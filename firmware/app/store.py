"""What was measured and is not acknowledged yet: the newest readings in memory, older ones in flash, of this boot and earlier ones.

Each boot has its own numbers, from 1 without holes. The oldest boot with readings is delivered first; new readings never continue its numbers.
"""

import json
import os
from binascii import hexlify

import values
from kept import Boot, Kept
from ring import Ring
from ticks import Uptime

#: Readings wait in memory for so long before they go to flash, and how far apart files are written, in milliseconds: flash wears.
AWAY_MS = 30000
PAUSE_MS = 10000
#: Readings in one file, and bytes from which on fewer will do, or no more: two blocks of flash.
LEAST, MOST = 32, 64
MOST_BYTES = 8000
#: The age that the agent believes at most, in milliseconds.
MAX_AGE_MS = 30 * 86400000


class Store:
    """now_ms: ticks. folder: where readings are kept; empty: in memory only. kept_readings: how many of them; ring_bytes: of memory.

    left_out: values that were no readings: a bad name, nan, no number.
    """

    def __init__(self, now_ms, folder="", kept_readings=2000, ring_bytes=12 << 10):
        self._uptime = Uptime(now_ms)
        self._ring = Ring(ring_bytes)
        self._kept = Kept(folder, kept_readings)
        self._live = Boot(self._kept.next_order, _new_id([boot.id for boot in self._kept.boots]))
        self._boots = self._kept.boots + [self._live]
        self._loaded = None, []  # the file that is delivered, and its readings
        self._moved = self._wrote = -PAUSE_MS  # uptime of the newest ack and file
        self.left_out = 0

    @property
    def boot(self):
        """Id of the boot whose readings are delivered now; what follows is of that boot."""
        return self._boots[0].id

    @property
    def oldest(self):
        """The oldest that is not acknowledged; newest + 1: there is none."""
        return self._boots[0].oldest

    @property
    def newest(self):
        return self._boots[0].newest

    @property
    def lost(self):
        return self._boots[0].lost

    @property
    def is_untold(self):
        """Whether nothing is left of an earlier boot but to tell what was lost: ``told`` ends it."""
        return self.oldest > self.newest and self._boots[0] is not self._live

    @property
    def is_undated(self):
        """Whether what is delivered now has a time as soon as it is known what time it is."""
        return self._boots[0] is not self._live and self._boots[0].zero is not None and self._live.zero is None

    @property
    def problem(self):
        """Why nothing can be kept in flash; empty: it can."""
        return self._kept.problem

    def know_time(self, unix_ms, now):
        """It is ``unix_ms`` now: what is kept has an age after a reset too."""
        self._live.zero = unix_ms - self._uptime.at(now)

    def put(self, measured, now):
        """Add what was measured now, as one reading, or as several where it is too long for one."""
        parts, left_out = values.readings(measured)
        self.left_out += left_out
        live, at = self._live, self._uptime.at(now)
        for part in parts:
            live.newest += 1
            live.lost += self._ring.push(b"%d " % at + part)
        self._settle()

    def after(self, seq, count, now):
        """At most ``count`` readings after ``seq``, as (number, values, age in ms or None); none beyond the file that is delivered now."""
        at, some = self._uptime.at(now), self._some(seq + 1, count)
        start, boot = max(seq + 1, self.oldest), self._boots[0]
        return [(start + index,) + self._reading(boot, entry, at) for index, entry in enumerate(some)]

    def ack(self, boot_id, seq):
        """Everything of that boot up to ``seq`` is safe. Returns whether that is news."""
        boot = self._boots[0]
        if boot_id != boot.id or (boot is self._live and seq > boot.newest):
            return False
        seq = min(seq, boot.newest)  # of an earlier boot more was sent than is kept
        if seq < boot.oldest:
            return False
        self._moved = self._uptime.ms
        self._forget(boot, seq)
        return True

    def told(self):
        """The agent knows what was lost of this boot, of which nothing else is left: the next one begins."""
        if self.is_untold:
            self._kept.finish(self._boots.pop(0))

    def spill(self, now):
        """Write some readings to flash if they have waited for long, or have no room; called every second or so. Returns whether it wrote."""
        at = self._uptime.at(now)
        if at - self._wrote < PAUSE_MS or (len(self._ring) < LEAST and not self._ring.is_filling):
            return False
        if not self._ring.is_filling and min(at - self._moved, at - _at(self._ring.some(0, 1)[0])) < AWAY_MS:
            return False
        self._wrote = at
        return self._write()

    def save(self):
        """Write all that is in memory to flash, before a reset that is meant. Returns whether all is there."""
        while len(self._ring):
            if not self._write():
                return False
        return True

    def _write(self):
        first = self._live.newest - len(self._ring) + 1
        entries = _batch(self._ring.some(0, MOST))
        if not self._kept.write(self._boots, self._live, first, entries):
            self._settle()
            return False
        for _ in entries:
            self._ring.pop()
        self._settle()
        return True

    def _some(self, start, count):
        """At most ``count`` entries from number ``start`` on (or the oldest) of what is delivered now: the oldest file, or the ring."""
        boot = self._boots[0]
        while boot.segments:
            key = boot.id, boot.segments[0]
            if self._loaded[0] != key:
                self._loaded = None, []
                found = self._kept.read(boot, boot.segments[0])
                if found is None:
                    self._kept.drop(boot)
                    self._settle()
                    continue
                self._loaded = key, found[1]
            index = max(start, boot.oldest) - boot.segments[0][0]
            return self._loaded[1][index : index + count]
        self._loaded = None, []
        if boot is not self._live:
            return []
        return self._ring.some(max(start, boot.oldest) - (boot.newest - len(self._ring) + 1), count)

    def _forget(self, boot, seq):
        self._kept.ack(boot, seq, boot is self._live or not boot.lost)
        boot.oldest = max(boot.oldest, seq + 1)
        if boot is self._live:
            while self._ring and boot.newest - len(self._ring) + 1 <= seq:
                self._ring.pop()
        self._settle()
        if not boot.lost:
            self.told()

    def _settle(self):
        """Between files, and between them and the ring, some may have been dropped."""
        for boot in self._boots:
            boot.settle(boot.newest + 1 - (len(self._ring) if boot is self._live else 0))

    def _reading(self, boot, entry, at):
        then, _, data = entry.partition(b" ")
        return json.loads(data), self._age(boot, int(then), at)

    def _age(self, boot, then, at):
        if boot is not self._live:
            if boot.zero is None or self._live.zero is None:
                return None
            at += self._live.zero - boot.zero
        return max(0, min(at - then, MAX_AGE_MS))


def _new_id(known):
    found = os.urandom(4)
    while hexlify(found).decode() in known:
        found = bytes([(found[0] + 1) & 0xFF]) + found[1:]
    return hexlify(found).decode()


def _batch(entries):
    """As many of them as one file should have."""
    size = 0
    for count, entry in enumerate(entries):
        size += len(entry)
        if size >= MOST_BYTES:
            return entries[: count + 1]
    return entries


def _at(entry):
    return int(entry.partition(b" ")[0])
