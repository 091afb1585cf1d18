"""Readings in flash, in files of some dozens, for as long as nobody takes them: they outlive resets and power cuts.

A file is named ``order.boot.first.count``. Its lines: what is known of each boot, the readings, the CRC-32 of all before. One whose end is
missing is dropped as a whole. What was dropped is written down with the next file, before its own file goes: it is counted once.
"""

import json
import os
from binascii import crc32

#: Boots whose readings are kept; in one file, readings at most, and bytes of a line.
MAX_BOOTS = 12
MAX_COUNT, MAX_LINE = 64, 2048
#: Bytes of flash that stay free for updates and settings.
RESERVE = 128 << 10


class Boot:
    """The readings of one boot. order: of the boots. oldest: the first that is neither acknowledged nor dropped; newest + 1: none.

    zero: Unix milliseconds of its uptime 0; None: not known. segments: (first, count) of its files, the oldest first.
    """

    def __init__(self, order, boot_id, oldest=1, newest=0, lost=0, zero=None):
        self.order, self.id, self.oldest, self.newest, self.lost, self.zero = order, boot_id, oldest, newest, lost, zero
        self.segments = []

    def row(self, newest):
        """What is written down of it. newest: of what was kept; what was in memory only is gone after a reset."""
        return [self.order, self.id, self.oldest, newest, self.lost, self.zero]

    def drop(self):
        """Give the oldest file up, counted; returns it."""
        first, count = segment = self.segments.pop(0)
        self.lost += max(0, first + count - max(first, self.oldest))
        self.oldest = max(self.oldest, first + count)
        return segment

    def settle(self, following):
        """Nobody waits for what is neither in a file nor after them: ``following`` is the first number there is then."""
        self.oldest = max(self.oldest, self.segments[0][0] if self.segments else following)


class Kept:
    """folder: where the files are; empty: nowhere. most: readings that are kept.

    boots: those with something to say, the oldest first. problem: why nothing can be written, empty if it can.
    """

    def __init__(self, folder, most):
        self._folder, self._most = folder, most
        self._doomed = []  # files of what was dropped, gone when that is written down: (boot, segment)
        self.boots = []
        self.problem = ""
        if folder:
            self._load()

    @property
    def next_order(self):
        return self.boots[-1].order + 1 if self.boots else 1

    def read(self, boot, segment):
        """(what it knows of boots, its readings) of a file; None: it is damaged."""
        try:
            with open(self._path(boot, segment), "rb") as file:
                return _checked(file, segment[1])
        except (OSError, ValueError):
            return None

    def write(self, boots, boot, first, entries):
        """Keep ``entries`` of ``boot``, and know of ``boots``, which lose their oldest if there are too many. Returns whether it worked."""
        if not self._folder or not self._most:
            return False
        self._make_room(boots, len(entries))
        segment = (first, len(entries))
        boot.segments.append(segment)
        try:
            self._write(boots, boot, segment, entries)
        except (OSError, MemoryError) as error:
            boot.segments.pop()
            self._remove(boot, segment)
            self.problem = "cannot keep readings in flash: %s" % (error,)
            return False
        self.problem = ""
        while self._doomed:
            self._remove(*self._doomed.pop())
        return True

    def ack(self, boot, seq, is_told):
        """Forget the files of ``boot`` with nothing after ``seq``. is_told: else the last one stays, which says what was lost."""
        while boot.segments and sum(boot.segments[0]) - 1 <= seq:
            segment = boot.segments.pop(0)
            if is_told or boot.segments:
                self._remove(boot, segment)
            else:
                self._doomed.append((boot, segment))

    def finish(self, boot):
        """All of it was delivered and told."""
        for each in [each for each in self._doomed if each[0] is boot]:
            self._doomed.remove(each)
            self._remove(*each)

    def drop(self, boot):
        """Give up the oldest file of ``boot``, counted."""
        self._doomed.append((boot, boot.drop()))

    def _make_room(self, boots, more):
        while len(boots) > MAX_BOOTS:
            while boots[0].segments:
                self.drop(boots[0])
            gone = boots.pop(0)
            boots[0].lost += gone.lost  # whose they were is forgotten, not how many
        holders = [each for each in boots if each.segments]
        count = more + sum(each[1] for boot in holders for each in boot.segments)
        extra = 2 if self._is_full() else 0
        while holders and (count > self._most or extra):
            count -= holders[0].segments[0][1]
            extra = max(0, extra - 1)
            self.drop(holders[0])
            if not holders[0].segments:
                holders.pop(0)

    def _is_full(self):
        try:
            found = os.statvfs(self._folder)
        except OSError:  # the folder is not there yet
            return False
        return found[0] * found[4] < RESERVE

    def _write(self, boots, boot, segment, entries):
        _make(self._folder)
        if self._is_full() and not self._doomed:
            raise OSError(28, "the flash is full")
        crc, rows = 0, [each.row(sum(segment) - 1 if each is boot else each.newest) for each in boots]
        with open(self._path(boot, segment), "wb") as file:
            for line in [json.dumps(rows).encode()] + entries:
                crc = crc32(b"\n", crc32(line, crc))
                file.write(line)
                file.write(b"\n")
            file.write(_digits(crc))

    def _path(self, boot, segment):
        return "%s/%d.%s.%d.%d" % (self._folder, boot.order, boot.id, segment[0], segment[1])

    def _remove(self, boot, segment):
        try:
            os.remove(self._path(boot, segment))
        except OSError:
            pass  # it is gone, or goes at the next start

    def _load(self):
        boots = {}
        for order, boot_id, first, count in sorted(_named(self._folder)):
            boot = boots.setdefault((order, boot_id), Boot(order, boot_id, oldest=first))
            boot.segments.append((first, count))
            boot.newest = first + count - 1
        known = [boots[key] for key in sorted(boots)]
        for row in self._newest_rows(known):
            self._know(boots, row)
        self.boots = [boots[key] for key in sorted(boots) if boots[key].segments or boots[key].lost]

    def _newest_rows(self, boots):
        for boot in reversed(boots):
            for segment in reversed(boot.segments):
                found = self.read(boot, segment)
                if found:
                    return found[0]
        return []

    def _know(self, boots, row):
        """What was known of a boot when the newest file was written."""
        order, boot_id, oldest, newest, lost, zero = row
        boot = boots.get((order, boot_id))
        if boot is None:
            if lost and oldest > newest:  # all of it was dropped, and maybe nobody was told
                boots[order, boot_id] = Boot(order, boot_id, oldest, newest, lost, zero)
            return
        boot.lost, boot.zero = lost, zero
        boot.newest = max(boot.newest, newest)
        self.ack(boot, oldest - 1, True)
        boot.oldest = oldest
        boot.settle(boot.newest + 1)


def _named(folder):
    """(order, boot, first, count) of each file."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        words = name.split(".")
        if len(words) == 4 and 0 < len(words[1]) <= 16 and all(char in "0123456789abcdef" for char in words[1]):
            try:
                order, first, count = int(words[0]), int(words[2]), int(words[3])
            except ValueError:
                continue
            if min(order, first, count) > 0 and count <= MAX_COUNT:
                yield order, words[1], first, count


def _checked(file, count):
    """In small pieces: there may be none of some KB in the heap, and readline takes each byte by itself."""
    crc, lines, rest = 0, [], b""
    while True:
        data = file.read(256)
        found = (rest + data).split(b"\n")
        rest = found.pop()
        if not data or len(rest) > MAX_LINE or len(lines) > count + 1:
            break
        lines += found
    if rest or len(lines) != count + 2:
        return None
    digits = lines.pop()
    for line in lines:
        crc = crc32(b"\n", crc32(line, crc))
    return (json.loads(lines.pop(0)), lines) if digits + b"\n" == _digits(crc) else None


def _digits(crc):
    return b"%08x\n" % (crc & 0xFFFFFFFF)


def _make(folder):
    try:
        os.mkdir(folder)
    except OSError:
        pass  # it is there, or else opening a file in it says why not
