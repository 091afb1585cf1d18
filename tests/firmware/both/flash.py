"""NOR flash in memory, whose power can be cut at any operation; for MicroPython, with littlefs on it."""


class Flash:
    """left: operations until the power goes; None: it stays. half: the one that is under way then is done by half.

    ops: writes and erasures so far.
    """

    def __init__(self, blocks=40, size=1024):
        self.size, self.data = size, bytearray(b"\xff" * (blocks * size))
        self.left, self.half, self.ops = None, False, 0

    def _spent(self):
        """Whether the power is gone; the last operation that begins is counted."""
        if self.left is not None:
            if self.left <= 0:
                return True
            self.left -= 1
        self.ops += 1
        return False

    def readblocks(self, block, buf, offset=0):
        at = block * self.size + offset
        buf[:] = memoryview(self.data)[at : at + len(buf)]
        return 0

    def writeblocks(self, block, buf, offset=0):
        at, count = block * self.size + offset, len(buf)
        is_cut = self._spent()
        if is_cut:
            count = count // 2 if self.half and self.left == 0 else 0
        for index in range(count):
            self.data[at + index] &= buf[index]  # bits can only be cleared
        return self._fail() if is_cut else 0

    def ioctl(self, op, arg):
        if op == 4:
            return len(self.data) // self.size
        if op == 5:
            return self.size
        if op == 6:
            is_cut = self._spent()
            size = self.size if not is_cut else self.size // 2 if self.half and self.left == 0 else 0
            memoryview(self.data)[arg * self.size : arg * self.size + size] = b"\xff" * size
            return self._fail() if is_cut else 0
        return 0

    def _fail(self):
        self.left = -1  # nothing more reaches the flash
        return -5  # an exception would leave littlefs in the middle, and the next call may never end
