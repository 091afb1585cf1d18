"""The serial link on a real terminal: whatever comes in, the board goes on, answers, and can be interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.boardpty import BoardPty
from tests.support.micropython import APP, environment, missing
from tests.support.servers import until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

#: It answers each message with its number, and says between the frames what it has to say.
SCRIPT = """
import asyncio
import usb

class Session:
    def __init__(self):
        self.out, self.told = [], 0
    def connected(self):
        print("connected")
    def disconnected(self):
        print("disconnected")
    def hear(self, message, now):
        if message.get("t") == "bad":
            raise OSError(5, "a bad one")
        print("a print without an end", end="")
        self.out.append({"t": "echo", "n": message.get("n"), "beats": beats})
    def due(self, now):
        flood = [{"t": "r", "x": "x" * 200}] * FLOOD
        out, self.out = self.out + flood, []
        return out

class Keeper:
    def beat(self, name):
        global beats
        assert name == "link"
        beats += 1
        if link.dropped and not session.told:
            session.told = 1
            open("dropped", "w").close()

beats, session, link = 0, Session(), usb.Usb()
try:
    asyncio.run(link.run(session, Keeper()))
except KeyboardInterrupt:
    print("interrupted")
"""


def board(tmp_path: Path, flood: int = 0) -> BoardPty:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("FLOOD", str(flood)))
    return BoardPty(script, environment(APP), tmp_path)


def test_one_byte_at_a_time_and_torn(tmp_path: Path) -> None:
    with board(tmp_path) as its:
        its.line("connected")
        for byte in its.framed({"t": "hi", "n": 1}):
            its.write(bytes([byte]))
        its.message(n=1)
        whole = its.framed({"t": "hi", "n": 2})
        its.write(b">>> \r\n" + whole[:20] + whole + whole[:-5] + b"\n" + its.framed({"t": "hi", "n": 3})[:-1] + b"\r\n")
        its.message(n=3)
        assert [each["n"] for each in its.messages] == [1, 2, 3]
        assert "a print without an end" in its.lines


def test_a_flood_holds_nobody_up_and_is_forgotten(tmp_path: Path) -> None:
    with board(tmp_path) as its:
        its.say({"t": "hi", "n": 1})
        before = its.message(n=1)["beats"]
        its.write(b"\x1e{" * 30_000 + b"\n" + b"x" * 30_000 + b"[" * 2000 + b"\n" + b"\x1e\n" * 5000)
        for each in ({}, {"t": 5}, {"t": "x" * 900}, {"t": "bad"}):
            its.say(each)
        its.say({"t": "hi", "n": 2})
        assert its.message(n=2)["beats"] - before > 100
        its.line("a bad one")


@pytest.mark.parametrize("first", [b"", b"x" * 3000])
def test_ctrl_c_interrupts(tmp_path: Path, first: bytes) -> None:
    with board(tmp_path) as its:
        its.line("connected")
        its.write(first + b"\x03")
        its.line("interrupted")
        assert its.process.wait(10) == 0


async def test_a_host_that_reads_nothing_does_not_stop_it(tmp_path: Path) -> None:
    with board(tmp_path, flood=16) as its:
        await until((tmp_path / "dropped").exists, "it goes on when nothing more has room")
        its.say({"t": "hi", "n": 1})
        its.message(n=1)
