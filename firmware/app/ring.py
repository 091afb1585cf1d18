"""A ring of fixed size in memory: when it is full the oldest goes."""


class Ring:
    """Of entries (bytes), at most ``slots`` with ``most_bytes`` together. One that is longer than that has the ring for itself."""

    def __init__(self, slots, most_bytes):
        self._slots = [None] * slots
        self._most = most_bytes
        self._start = self._count = 0
        self.bytes = 0

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        """The entry at ``index``; 0 is the oldest."""
        if not 0 <= index < self._count:
            raise IndexError("the ring has %d entries" % self._count)
        return self._slots[(self._start + index) % len(self._slots)]

    @property
    def is_filling(self):
        """Whether the next few entries may cost the oldest ones."""
        return self._count * 4 >= len(self._slots) * 3 or self.bytes * 4 >= self._most * 3

    def push(self, entry):
        """Add it; returns how many of the oldest had to go."""
        dropped = 0
        while self._count and (self._count == len(self._slots) or self.bytes + len(entry) > self._most):
            self.pop()
            dropped += 1
        self._slots[(self._start + self._count) % len(self._slots)] = entry
        self._count += 1
        self.bytes += len(entry)
        return dropped

    def pop(self):
        """Take the oldest off."""
        entry = self[0]
        self._slots[self._start] = None
        self._start = (self._start + 1) % len(self._slots)
        self._count -= 1
        self.bytes -= len(entry)
        return entry
