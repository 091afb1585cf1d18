"""What a board says after its start: the frame ``hello`` with the version that was put on it, or what went wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from edgeagent import mcumessages
from edgeagent.bridge.frames import Decoder, encode
from edgeagent.errors import EdgeError, Failed, Unreachable
from edgeagent.mcumessages import Hello, Hi

__all__ = ["wait_for_hello"]

#: How long a start may take, and how often the board is asked, in seconds.
START_SECONDS, ASK_SECONDS = 30.0, 1.0
#: How long its first words are listened to, where no hello comes after them, in seconds.
SETTLE_SECONDS = 1.0
_KEPT_LINES, _MAX_PROBLEM = 20, 400
_SETTINGS = "settings: "


def wait_for_hello(
    port: Any,
    version: str,
    *,
    by_mqtt: bool = False,
    seconds: float = START_SECONDS,
    note: Callable[[str], None] = lambda problem: None,
) -> Hello | None:
    """Until the firmware of this version says who it is.

    port: of pyserial, open. by_mqtt: its hello goes elsewhere, so its first line counts, ``edgeagent firmware VERSION, ...``: None.
    note: told what it says is wrong with its settings. Raises Failed when another version answers, or a program ended; Unreachable when nothing is said.
    """
    port.timeout = 0.1
    listener = _Listener(version, by_mqtt=by_mqtt)
    deadline, asks = time.monotonic() + seconds, time.monotonic() + ASK_SECONDS
    try:
        while not listener.has_started:
            listener.feed(port.read(max(1, port.in_waiting)))
            now = time.monotonic()
            if now > deadline:
                raise listener.problem(seconds)
            if now > asks:
                asks = now + ASK_SECONDS
                port.write(b"\n" + encode(mcumessages.encode(Hi(u=int(time.time() * 1000)))))
        until = time.monotonic() + SETTLE_SECONDS
        while by_mqtt and (more := port.read(max(1, port.in_waiting))) and time.monotonic() < until:
            listener.feed(more)
    except EdgeError:  # some of ours are OSErrors too
        raise
    except OSError:
        raise Unreachable("see the firmware start", "the board was unplugged, or reset", "plug it in and repeat") from None
    for each in listener.problems:
        note(each)
    return listener.hello


class _Listener:
    def __init__(self, version: str, *, by_mqtt: bool) -> None:
        self._version, self._decoder = version, Decoder()
        self._first_words = ["edgeagent", "firmware", f"{version},"] if by_mqtt else None
        self._other, self._lines = "", [""]
        self.problems: list[str] = []
        self.hello: Hello | None = None
        self.has_started = False

    def feed(self, data: bytes) -> None:
        for is_frame, found in self._decoder.feed(data):
            if is_frame:
                self._frame(found)
            else:
                self._line(found.decode("utf-8", "replace").strip())

    def problem(self, seconds: float) -> EdgeError:
        what = "see the firmware start"
        if self._other:
            return Failed(
                what, f"the board runs version {self._other}", "`edgeagent mcu logs` and its prints show why; flash it again"
            )
        said = next(
            (line for line in reversed(self._lines) if line and not line.startswith((">>>", "MicroPython ", "Type "))), ""
        )
        if said:
            return Failed(what, f"in {seconds:g} s it said no hello; the last that it printed is {said!r}", "flash it again")
        return Unreachable(
            what, f"in {seconds:g} s the board said nothing", "unplug it, plug it in and look whether it is online"
        )

    def _frame(self, data: bytes) -> None:
        try:
            said = mcumessages.parse(data)
        except ValueError:
            return
        if isinstance(said, Hello) and said.fw == self._version:
            self.hello, self.has_started = said, True
        elif isinstance(said, Hello):
            self._other = said.fw

    def _line(self, line: str) -> None:
        self._lines = [*self._lines, line][-_KEPT_LINES:]
        if line.startswith(_SETTINGS) and len(self.problems) < _KEPT_LINES:
            self.problems.append(line[:_MAX_PROBLEM])
        self.has_started = self.has_started or line.split()[:3] == self._first_words
