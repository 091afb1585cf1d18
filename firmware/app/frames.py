"""Frames on the serial line: ``RS JSON TAB CRC LF``, as in docs/wire.md. What is in no frame is not for us."""

import json
from binascii import crc32

#: The longest frame, and the longest JSON in one, in bytes.
MAX_FRAME = 1024
MAX_PAYLOAD = MAX_FRAME - 11
_RS, _LF = b"\x1e", b"\n"


def dumps(value):
    """Its JSON: one line of ASCII. ValueError for what JSON cannot hold (values.plain makes it so that it can)."""
    text = json.dumps(value, separators=(",", ":"))
    data = text.encode()
    return data if len(data) == len(text) else _escaped(text)


def _escaped(text):
    """MicroPython leaves as it is whatever is no ASCII."""
    out = []
    for char in text:
        code = ord(char)
        if code < 128:
            out.append(char)
        elif code < 0x10000:
            out.append("\\u%04x" % code)
        else:
            code -= 0x10000
            out.append("\\u%04x\\u%04x" % (0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF)))
    return "".join(out).encode()


def encode(message):
    """The frame of a message (a dict). Raises ValueError when it is too long."""
    payload = dumps(message)
    if len(payload) > MAX_PAYLOAD:
        raise ValueError("cannot send %d bytes: a frame holds at most %d" % (len(payload), MAX_PAYLOAD))
    return _RS + payload + b"\t" + _crc(payload) + _LF


def _crc(payload):
    return b"%08x" % (crc32(payload) & 0xFFFFFFFF)


class Decoder:
    """Finds the messages in what is read, however it is torn. damaged: frames that were begun and not whole."""

    def __init__(self):
        self._rest = b""
        self._skipping = False
        self.damaged = 0

    def feed(self, data):
        """The messages (dicts) whose frames end in ``data``, in order. It keeps at most MAX_FRAME bytes."""
        lines = (self._rest + data).split(_LF)
        self._rest = lines.pop()
        messages = []
        for line in lines:
            message = self._line(line)
            if message is not None:
                messages.append(message)
        if len(self._rest) > MAX_FRAME:
            self._shorten()
        return messages

    def _line(self, line):
        at = line.rfind(_RS)
        skipped, self._skipping = self._skipping, False
        if at < 0:
            return None
        if not skipped:
            self.damaged += line[:at].count(_RS)
        message = _message(line[at + 1 :])
        if message is None:
            self.damaged += 1
        return message

    def _shorten(self):
        """No frame is so long: keep what may be the beginning of one."""
        at = self._rest.rfind(_RS)
        keeps = at >= 0 and len(self._rest) - at <= MAX_FRAME
        if not self._skipping:
            self.damaged += self._rest.count(_RS) - (1 if keeps else 0)
        self._rest = self._rest[at:] if keeps else b""
        self._skipping = not keeps


def _message(frame):
    """What a whole frame says, None for a damaged one. The digits are compared as they are: ``A`` is no ``a`` here."""
    frame = frame.rstrip(b"\r")
    payload = frame[:-9]
    if not payload or frame[-9:] != b"\t" + _crc(payload) or len(frame) + 2 > MAX_FRAME:
        return None
    try:
        message = json.loads(payload)
    except (ValueError, RuntimeError, MemoryError):  # the last two: it is nested too deeply
        return None
    return message if isinstance(message, dict) else None
