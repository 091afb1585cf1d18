"""The link by USB serial, or whatever the REPL is on: frames between what is printed. Ctrl-C works at all times, for input never waits."""

import asyncio
import select
import sys

import frames
import log
from ticks import ticks_diff, ticks_ms

_BURST = 256  # bytes that are read before others have their turn
_IDLE_SECONDS = 0.01
_DOWN_MS = 10_000  # so long without an answer to a reading, and nobody listens
_HELD = 512  # bytes that the port holds for a program that does not read
_SLOW_MS, _PAUSE_MS = 150, 1000  # a write that takes so long met a host that reads nothing: leave it alone for a moment


class Input:
    """stdin: as sys has it. A byte is read at a time: a read of more would wait until all of it came, and hold up Ctrl-C and everybody."""

    def __init__(self, stdin=None):
        stdin = stdin or sys.stdin
        self._in, self._ready, self._byte = stdin.buffer, select.poll(), bytearray(1)  # raw: no \r before \n
        self._ready.register(stdin, select.POLLIN)

    def read(self, most):
        """What is there."""
        found = bytearray()
        while len(found) < most and self._ready.poll(0):
            if not self._in.readinto(self._byte):
                break  # hung up
            found.append(self._byte[0])
        return bytes(found)


class Unheard(Input):
    """The line of a board that listens elsewhere. Nobody means it, and yet it is to be read: when the port is full Ctrl-C is not heard either."""

    def drain(self):
        self.read(_HELD)


class Usb:
    """greet(): says again, to the first who listens, what was said before that. stdin, stdout: as sys has them.

    is_up: somebody listens. dropped: messages that had no room.
    """

    name = "link"

    def __init__(self, greet=None, stdin=None, stdout=None):
        self._greet = greet
        stdout = stdout or sys.stdout
        self._in, self._out, self._room = Input(stdin), stdout.buffer, select.poll()
        self._room.register(stdout, select.POLLOUT)
        self._decoder = frames.Decoder()
        self._unanswered = self._paused = None
        self.is_up = False
        self.dropped = 0

    async def run(self, session, keeper):
        """For ever."""
        session.connected()
        while True:
            keeper.beat(self.name)
            read = self._in.read(_BURST)
            if read:
                self._hear(read, session)
            self._say(session)
            await asyncio.sleep(0 if len(read) == _BURST else _IDLE_SECONDS)

    def _hear(self, data, session):
        for message in self._decoder.feed(data):
            self._unanswered = self._paused = None
            if self._greet:
                self._greet()
                self._greet = None
            if not self.is_up:
                self.is_up = True
                session.connected()
            try:
                session.hear(message, ticks_ms())
            except Exception as error:  # the next message may be a better one
                log.failed("cannot take what the agent says", error)

    def _say(self, session):
        now = ticks_ms()
        if self.is_up and self._unanswered is not None and ticks_diff(now, self._unanswered) > _DOWN_MS:
            self.is_up = False
            session.disconnected()
        if self._paused is not None and ticks_diff(now, self._paused) < _PAUSE_MS:
            return
        self._paused = None
        for message in session.due(now):
            if self._paused is None and self._write(message):
                if message.get("t") == "r" and self._unanswered is None:
                    self._unanswered = now
            else:
                self.dropped += 1

    def _write(self, message):
        """Whether it went out; the protocol says again what did not."""
        began = ticks_ms()
        if not self._room.poll(0):
            self._paused = began
            return False
        try:
            self._out.write(frames.encode(message))
        except ValueError:  # longer than a frame
            return False
        if ticks_diff(ticks_ms(), began) > _SLOW_MS:
            self._paused = began
        return True
