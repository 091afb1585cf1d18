"""The report of a unit: output that goes round, what is missed of it, and the outcome."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.patterns import unitreport
from edgeagent.patterns.unitreport import MAX_OUTCOME_BYTES, RING_BYTES, Reader, Writer


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "report"


@pytest.fixture
def writer(file: Path) -> Iterator[Writer]:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    yield Writer(descriptor)
    os.close(descriptor)


def read(reader: Reader) -> bytes:
    return b"".join(reader.new())


def test_who_keeps_up_reads_all_of_it(file: Path, writer: Writer) -> None:
    drawn, reader, whole, found = random.Random(7), Reader(file), b"", b""
    for _ in range(60):
        piece = drawn.randbytes(drawn.choice([0, 1, 4096, RING_BYTES // 2]))
        writer.write(piece)
        whole, found = whole + piece, found + read(reader)
    assert found == whole and read(reader) == b"" and len(whole) > 5 * RING_BYTES
    assert file.stat().st_size < RING_BYTES + 100


def test_what_was_missed_counts_and_the_end_is_true(file: Path, writer: Writer) -> None:
    whole = random.Random(7).randbytes(3 * RING_BYTES + 5)
    writer.write(whole[:10])
    reader = Reader(file)
    assert read(reader) == whole[:10]
    writer.write(whole[10:])
    found = read(reader)
    assert len(found) == len(whole) - 10 and found.endswith(whole[-RING_BYTES:]) and set(found[:-RING_BYTES]) == {0}


def test_what_is_overwritten_while_it_is_read_is_not_told(file: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.write(b"a" * RING_BYTES)
    headers, true = iter([False, True]), unitreport._header

    def header(descriptor: int) -> tuple[int, int]:
        if next(headers):
            writer.write(b"b" * 10)
        return true(descriptor)

    monkeypatch.setattr(unitreport, "_header", header)
    assert read(Reader(file)) == bytes(10) + b"a" * (RING_BYTES - 10)


def test_the_outcome(file: Path, writer: Writer) -> None:
    reader = Reader(file)
    assert reader.outcome() == b"" == read(reader)
    writer.write(b"words")
    writer.end(b'{"state": "succeeded"}')
    assert reader.outcome() == b'{"state": "succeeded"}' and read(reader) == b"words"
    with pytest.raises(ValueError):
        writer.end(bytes(MAX_OUTCOME_BYTES + 1))


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 16, b"\xff" * 300], ids=str)
def test_whatever_it_says_of_itself_little_is_believed(file: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs as the unit's user might write what they like."""
    monkeypatch.setattr(unitreport, "MAX_MISSED_BYTES", 1 << 20)
    file.write_bytes(content)
    reader = Reader(file)
    assert len(read(reader)) <= (1 << 20) + RING_BYTES and len(reader.outcome()) <= MAX_OUTCOME_BYTES
    assert read(Reader(file.with_name("none"))) == b""
