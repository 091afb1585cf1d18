"""A ring of fixed size in memory: when it is full the oldest entries go.

All are in one bytearray: hundreds of small objects that live long would leave no room in one piece for a TLS handshake.
"""


class Ring:
    """Of entries (bytes), in ``size`` bytes with 2 for the length of each. An entry must fit into it."""

    def __init__(self, size):
        self._data = bytearray(size)
        self._start = self._used = self._count = 0

    def __len__(self):
        return self._count

    @property
    def is_filling(self):
        """Whether the next entries will soon cost the oldest ones."""
        return self._used * 4 >= len(self._data) * 3

    def push(self, entry):
        """Add it; returns how many of the oldest had to go."""
        dropped, size = 0, len(entry)
        while self._count and self._used + size + 2 > len(self._data):
            self.pop()
            dropped += 1
        at = self._start + self._used
        self._put(at, bytes((size >> 8, size & 0xFF)))
        self._put(at + 2, entry)
        self._used += size + 2
        self._count += 1
        return dropped

    def pop(self):
        """Take the oldest off."""
        size = self._size(self._start) + 2
        self._start = (self._start + size) % len(self._data)
        self._used -= size
        self._count -= 1

    def some(self, index, count):
        """At most ``count`` entries from ``index`` on; 0 is the oldest."""
        found, at = [], self._start
        for number in range(min(index + count, self._count)):
            size = self._size(at)
            if number >= index:
                found.append(self._get(at + 2, size))
            at += size + 2
        return found

    def _size(self, at):
        whole = len(self._data)
        return self._data[at % whole] << 8 | self._data[(at + 1) % whole]

    def _get(self, at, size):
        at %= len(self._data)
        found = bytes(self._data[at : at + size])
        return found + bytes(self._data[: size - len(found)]) if len(found) < size else found

    def _put(self, at, data):
        at %= len(self._data)
        fits = min(len(data), len(self._data) - at)
        self._data[at : at + fits] = data[:fits]
        self._data[: len(data) - fits] = data[fits:]
