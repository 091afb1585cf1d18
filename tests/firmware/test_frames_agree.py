"""The board's codec and the agent's are the same: what one makes the other reads, and both find the same in a torn stream."""

from __future__ import annotations

import json
import random

import pytest

from edgeagent.bridge import frames
from tests.support.boardcode import board_modules

(board,) = board_modules("frames")


@pytest.mark.parametrize(
    "message", [{"t": "hi"}, {"v": 'a\x1e\tb\n"\\\x7f'}, {"t": "r", "v": {"ä€😀": -1.5e-7, "on": True, "x": None}}]
)
def test_each_reads_what_the_other_makes(message: dict[str, object]) -> None:
    (found,) = frames.Decoder().feed(board.encode(message))
    assert found.is_frame and json.loads(found.data) == message
    assert board.Decoder().feed(frames.encode(json.dumps(message).encode())) == [message]
    assert board.MAX_FRAME == frames.MAX_FRAME_BYTES
    with pytest.raises(ValueError):
        frames.encode(b"x" * (board.MAX_PAYLOAD + 1))
    assert frames.encode(b"x" * board.MAX_PAYLOAD)


def _stream(rng: random.Random) -> bytes:
    """What may come of a line: frames whole, torn, damaged and doubled, separators, prints and garbage of any length."""
    out = b""
    for number in range(150):
        frame = board.encode({"s": number, "x": "y" * rng.choice((0, 10, 980))})
        damaged = bytearray(frame)
        damaged[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
        torn = frame[: rng.randrange(len(frame))]
        noise = bytes(rng.choice(b"\x1e\n\r\t{}x0f") for _ in range(rng.choice((3, 30, 1200))))
        out += rng.choice((frame, frame, frame, frame[:-1] + b"\r\n", bytes(damaged), torn, noise, b"z" * 1500, b"\x1e" * 1025))
    return out + b"\n"


@pytest.mark.parametrize("seed", range(12))
def test_both_find_the_same_whatever_comes(seed: int) -> None:
    rng = random.Random(seed)
    data, its, ours = _stream(rng), board.Decoder(), frames.Decoder()
    found, wanted = [], []
    while data:
        size = rng.choice((1, 7, 64, 512, 4096))
        found += its.feed(data[:size])
        wanted += [json.loads(each.data) for each in ours.feed(data[:size]) if each.is_frame]
        assert len(its._rest) <= board.MAX_FRAME
        data = data[size:]
    assert found == wanted and len(found) > 40
    assert its.damaged == ours.damaged > 10
