"""Lines of programs, whole and in pieces, and where they are cut off."""

from __future__ import annotations

import pytest

from edgeagent.patterns.samplelines import BURST_LINES, LINES_A_SECOND, MAX_LINE_BYTES, MAX_RUN_BYTES, Lines


class Read:
    """Lines with a clock that stands still."""

    def __init__(self, *, keeps_running: bool = False) -> None:
        self.found: list[bytes] = []
        self.now = 0.0
        self.lines = Lines(self.found.append, keeps_running=keeps_running, clock=lambda: self.now)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_lines_come_back_however_they_are_cut(size: int) -> None:
    read, text = Read(), b"a 1\n\n  b 2\r\nc 3"
    for start in range(0, len(text), size):
        read.lines.add(text[start : start + size])
    assert read.found == [b"a 1", b"b 2"]
    read.lines.end()
    assert read.found == [b"a 1", b"b 2", b"c 3"] and not read.lines.too_much


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["endless", "ended"])
def test_a_line_that_is_too_long(end: bytes) -> None:
    read = Read(keeps_running=True)
    read.lines.add(b"x" * MAX_LINE_BYTES)
    assert not read.lines.too_much
    read.lines.add(b"x" + end)
    assert read.lines.too_much == "wrote a line of more than 8 KiB"
    read.lines.add(b"y 1\n")
    read.lines.end()
    assert read.found == [], "nothing is taken any more"


def test_a_run_that_writes_too_much() -> None:
    read = Read()
    for _ in range(MAX_RUN_BYTES // 4 + 1):
        read.lines.add(b"a 1\n")
    assert read.lines.too_much == "wrote more than 256 KiB" and len(read.found) == MAX_RUN_BYTES // 4


def test_one_that_keeps_running_may_write_for_ever_but_not_fast() -> None:
    read = Read(keeps_running=True)
    for _ in range(3 * MAX_RUN_BYTES // 4):
        read.now += 1 / LINES_A_SECOND
        read.lines.add(b"a 1\n")
    assert not read.lines.too_much
    for _ in range(BURST_LINES + 1):
        read.lines.add(b"a 1\n")
    assert read.lines.too_much == "wrote more than 20 lines a second"
