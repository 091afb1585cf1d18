"""Frames among everything else that a serial line carries: every whole one is found, and no damaged one."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator

import pytest

from edgeagent.bridge.frames import MAX_FRAME_BYTES, Decoder, Found, encode

BANNER = b'MPY: soft reboot\r\nMicroPython v1.28.0 on 2026-07-05; Raspberry Pi Pico with RP2040\r\nType "help()" for more information.\r\n>>> '
TRACEBACK = (
    b'Traceback (most recent call last):\r\n  File "main.py", line 7, in <module>\r\nValueError: \xc3\xa9 \xff\xfe is none\r\n'
)


def payload(chance: random.Random, number: int) -> bytes:
    return json.dumps({"t": "r", "b": "boot", "s": number, "v": {"x": chance.random(), "w": "x" * chance.randrange(60)}}).encode()


def upper(frame: bytes) -> bytes:
    changed = frame[:-9] + frame[-9:].upper()
    return changed if changed != frame else frame[:-2] + b"G\n"


def flipped(chance: random.Random, frame: bytes) -> bytes:
    """With one bit another; not in its last byte: what follows it on the line would be its neighbour's."""
    at = chance.randrange(len(frame) - 1)
    return frame[:at] + bytes([frame[at] ^ 1 << chance.randrange(8)]) + frame[at + 1 :]


def damaged(chance: random.Random, frame: bytes) -> bytes:
    """What must not be taken, up to an end of line."""
    at = chance.randrange(1, len(frame) - 1)
    return chance.choice(
        [
            flipped(chance, frame),
            frame[:at] + b"\n",  # its end is gone
            frame[at:],  # its beginning
            frame[:at] + frame[at + 1 :],
            frame[:at] + b"\n" + frame[at:],
            frame[:at] + b"print in between\r\n" + frame[at:],
            upper(frame),
            frame[:-1] + b"0\n",
            frame.replace(b"\t", b" "),
            b"\x1e\n",
            b"\x1e\t00000000\n",
            b"\x1e" + b"{" * chance.randrange(1, 3000) + b"\n",
        ]
    )


def noise(chance: random.Random) -> bytes:
    """Whole lines of something else."""
    rubbish = bytes(chance.choice([byte for byte in range(256) if byte != 0x1E]) for _ in range(chance.randrange(1500)))
    return chance.choice(
        [BANNER + b"\n", TRACEBACK, b"temp 21.5\r\n", b"\r\n", b"x" * 3000 + b"\n", rubbish + b"\n", b"\x03\x04\x01\n"]
    )


def cut(chance: random.Random, stream: bytes, how: str) -> Iterator[bytes]:
    if how == "whole":
        yield stream
        return
    at = 0
    while at < len(stream):
        size = 1 if how == "bytes" else chance.randrange(1, 200)
        yield stream[at : at + size]
        at += size


def is_intact(line: bytes) -> bytes | None:
    """By the rule of docs/wire.md, another way: what the frame in a line without its LF holds."""
    _, mark, frame = line.rpartition(b"\x1e")
    frame = frame.rstrip(b"\r")
    body, tab, crc = frame[:-9], frame[-9:-8], frame[-8:]
    whole = mark and body and tab == b"\t" and crc.decode("latin-1") == format(zlib.crc32(body), "08x")
    return body if whole and len(frame) + 2 <= MAX_FRAME_BYTES else None


@pytest.mark.parametrize("how", ["whole", "torn", "bytes"])
@pytest.mark.parametrize("seed", range(5))
def test_every_whole_frame_and_no_damaged_one(seed: int, how: str) -> None:
    chance = random.Random(seed)
    stream, good = b"", []
    for number in range(120):
        mine = payload(chance, number)
        kind = chance.choice(["good", "good", "damaged", "noise", "prompt", "crlf"])
        if kind == "damaged":
            stream += damaged(chance, encode(mine))
        elif kind == "noise":
            stream += noise(chance)
        else:
            good.append(mine)
            before = chance.choice([b">>> ", b"no end of line ", b"\x1etorn before it"]) if kind == "prompt" else b""
            stream += before + (encode(mine)[:-1] + b"\r\n" if kind == "crlf" else encode(mine))
    decoder, found = Decoder(), []
    for piece in cut(chance, stream, how):
        found += [data for is_frame, data in decoder.feed(piece) if is_frame]
        assert len(decoder._rest) <= MAX_FRAME_BYTES
    assert found == good
    assert found == [body for line in stream.split(b"\n")[:-1] if (body := is_intact(line)) is not None]
    assert decoder.damaged > 5


def lines(*pieces: bytes) -> list[Found]:
    decoder = Decoder()
    return [found for piece in pieces for found in decoder.feed(piece)]


GOOD = encode(b'{"t":"hi"}')


@pytest.mark.parametrize(
    "line",
    [
        upper(GOOD),
        GOOD.replace(b"\t", b"\t\n"),
        GOOD.replace(b"\t", b""),
        GOOD[:-2] + b"\n",
        GOOD[1:],
        GOOD[:5] + b"\n" + GOOD[5:],
        GOOD.replace(b"hi", b"hj"),
        b"\x1e\t00000000\n",
        b"\x1e" + b"1" * 2000 + b"\t%08x\n" % zlib.crc32(b"1" * 2000),
    ],
    ids=["upper case", "LF inside", "no tab", "short", "no RS", "torn by LF", "another letter", "empty", "too long"],
)
def test_a_damaged_frame_is_none_and_the_next_one_is(line: bytes) -> None:
    assert [data for is_frame, data in lines(line + GOOD) if is_frame] == [b'{"t":"hi"}']


def test_what_stands_around_frames_is_the_log() -> None:
    assert lines(BANNER, GOOD, b"next\r\n", b"\n\r\n") == [
        Found(False, b"MPY: soft reboot"),
        Found(False, b"MicroPython v1.28.0 on 2026-07-05; Raspberry Pi Pico with RP2040"),
        Found(False, b'Type "help()" for more information.'),
        Found(False, b">>> "),
        Found(True, b'{"t":"hi"}'),
        Found(False, b"next"),
    ]


def test_a_line_without_end_is_cut_and_forgotten() -> None:
    found = lines(*[b"y" * 100] * 100, b"\n", b"short\n", GOOD)
    assert [len(data) for is_frame, data in found if not is_frame and data.startswith(b"y")] == [MAX_FRAME_BYTES]
    assert found[-2:] == [Found(False, b"short"), Found(True, b'{"t":"hi"}')]


def test_a_frame_after_a_line_without_end() -> None:
    found = lines(b"z" * 3000, GOOD, GOOD)
    assert [is_frame for is_frame, _ in found] == [False, True, True]
    assert sum(is_frame for is_frame, _ in lines(b"\x1e" + b"z" * 1020 + GOOD)) == 1


@pytest.mark.parametrize("bad", [b"a\nb", b"a\x1eb", b"x" * MAX_FRAME_BYTES], ids=["LF", "RS", "long"])
def test_what_can_be_no_frame(bad: bytes) -> None:
    with pytest.raises(ValueError, match="one line of at most 1013 bytes"):
        encode(bad)


def test_the_longest_frame() -> None:
    longest = encode(b"x" * (MAX_FRAME_BYTES - 11))
    assert len(longest) == MAX_FRAME_BYTES and lines(*(longest[at : at + 7] for at in range(0, len(longest), 7))) == [
        Found(True, b"x" * (MAX_FRAME_BYTES - 11))
    ]
    assert lines(longest[:-1], b"\r\n") == [Found(True, b"x" * (MAX_FRAME_BYTES - 11))]
