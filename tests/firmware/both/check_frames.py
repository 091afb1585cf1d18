"""The codec on a line that it shares with prints, tracebacks, torn and damaged frames."""

import json
import random

import frames

NOISE = [
    b'Traceback (most recent call last):\r\n  File "main.py", line 3\r\nOSError: 5\r\n',
    b"MPY: soft reboot\r\n",
    b'MicroPython v1.28.0 on 2026-11-21; Raspberry Pi Pico with RP2040\r\nType "help()" for more information.\r\n>>> ',
    b"\x00\xff\x1e\x1e",
    b'\x1e{"t":1',
    b"\n\n\r\n",
    b"x" * 3000,
    b"\t00000000\n",
    b"\x1e\t00000000\n",
]


def damaged(frame):
    bad = bytearray(frame)
    bad[random.randrange(1, len(frame) - 1)] ^= 1 << random.randrange(7)
    return bytes(bad)


def stream(count, intact):
    """Pieces of what a line carries; the numbers of the frames that are whole in it come into ``intact``."""
    for number in range(count):
        frame = frames.encode({"t": "r", "s": number, "v": {"t": random.getrandbits(16) / 100, "n": "a\x1e\tb\n\u00e4"}})
        if number % 7 == 0:
            yield random.choice(NOISE)
        if number % 11 == 0:
            yield frame[: random.randrange(1, len(frame) - 1)]
        elif number % 13 == 0:
            yield damaged(frame)
        else:
            intact.append(number)
            yield frame[:-1] + b"\r\n" if number % 2 else frame


def heard(decoder, pieces, most):
    """The numbers of the frames that are found when the pieces arrive as at most ``most`` bytes each time."""
    found, rest = [], b""
    for piece in pieces:
        rest += piece
        while len(rest) >= most:
            size = random.randrange(1, most + 1)
            found += [each["s"] for each in decoder.feed(rest[:size]) if each.get("t") == "r"]
            rest = rest[size:]
    return found + [each["s"] for each in decoder.feed(rest + b"\n") if each.get("t") == "r"]


def test_intact_frames_are_all_found_and_no_other():
    for seed in range(3):
        random.seed(seed)
        decoder, intact = frames.Decoder(), []
        found = heard(decoder, stream(400, intact), 200)
        assert found == intact and len(intact) > 300, seed
        assert decoder.damaged >= 400 // 13


def test_it_does_not_matter_when_the_bytes_come():
    random.seed(9)
    intact = []
    found = heard(frames.Decoder(), stream(40, intact), 1)
    assert found == intact and len(intact) > 30


def test_it_keeps_no_more_than_a_frame():
    decoder = frames.Decoder()
    for noise in (b"x" * 400, b"\x1e" + b"y" * 399, b"\x1e" * 400):
        for _ in range(20):
            decoder.feed(noise)
            assert len(decoder._rest) <= frames.MAX_FRAME
    assert decoder.feed(b"\n" + frames.encode({"t": "hi"})) == [{"t": "hi"}]


def test_a_frame_is_as_long_as_it_may_be_and_no_longer():
    room = frames.MAX_PAYLOAD - len('{"v":""}')
    frame = frames.encode({"v": "x" * room})
    assert len(frame) == frames.MAX_FRAME and frames.Decoder().feed(frame) == [{"v": "x" * room}]
    try:
        frames.encode({"v": "x" * (room + 1)})
        raise AssertionError("it was encoded")
    except ValueError as error:
        assert "1013" in str(error)
    payload = b'{"v":"' + b"x" * (room + 1) + b'"}'
    assert frames.Decoder().feed(b"\x1e" + payload + b"\t" + frames._crc(payload) + b"\n") == []


def test_all_that_is_sent_is_ascii():
    text = 'a\u00e4\u20ac\x00\x1e\x7f"\\\n'
    data = frames.dumps({text: [text]})
    assert all(31 < byte < 128 for byte in data) and json.loads(data) == {text: [text]}
    assert frames.dumps("\U0001f600") == b'"\\ud83d\\ude00"'


class NoMemory:
    dumps = json.dumps

    @staticmethod
    def loads(data):
        raise MemoryError


def test_what_is_framed_well_and_no_message_is_refused():
    decoder = frames.Decoder()
    bodies = (b"[" * 900, b"[1]", b'"t"', b"{", b"\xff\xfe", b"nan", b'{"a":' * 150)
    for body in bodies:
        assert decoder.feed(b"\x1e" + body + b"\t" + frames._crc(body) + b"\n") == []
    assert decoder.damaged == len(bodies)
    frames.json = NoMemory
    try:
        assert decoder.feed(frames.encode({"t": "hi"})) == [] and decoder.damaged == len(bodies) + 1
    finally:
        frames.json = json
    frame = frames.encode({"t": "hi", "x": 7})
    assert frame[:-9] + frame[-9:].upper() == frame or decoder.feed(frame[:-9] + frame[-9:].upper()) == []
