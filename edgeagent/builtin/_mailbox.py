"""The Raspberry Pi firmware's own answer to a question, through the kernel's mailbox device: what ``vcgencmd`` does, without it.

The message is that of raspberrypi/utils, vcgencmd/vcgencmd.c: one property, GET_GENCMD_RESULT, whose value is the command's text and
then the answer's. It needs membership of the group ``video``.
"""

from __future__ import annotations

import fcntl
import os
import struct

from edgeagent.machine import Machine

__all__ = ["ask", "question", "reply_text"]

_DEVICES = ("/dev/vcio_gencmd", "/dev/vcio")
_GET_GENCMD_RESULT = 0x0003_0080
_TEXT_BYTES = 1024
_RESPONSE_OK = 0x8000_0000

#: size, request or response code, tag, room, length, error; the text; the end tag.
_LAYOUT = struct.Struct(f"=6I{_TEXT_BYTES}sI")

#: _IOWR(100, 0, char *): both directions, the size of a pointer, type and number 100 and 0 (asm-generic/ioctl.h).
_IOCTL_MBOX_PROPERTY = (3 << 30) | (struct.calcsize("P") << 16) | (100 << 8)


def question(command: str) -> bytearray:
    """The message that asks the firmware ``command``."""
    return bytearray(_LAYOUT.pack(_LAYOUT.size, 0, _GET_GENCMD_RESULT, _TEXT_BYTES, 0, 0, command.encode(), 0))


def reply_text(message: bytes | bytearray) -> str | None:
    """The answer in a message that came back, None if the firmware refused it."""
    _, code, _, _, _, error, text, _ = _LAYOUT.unpack(message)
    return text.split(b"\0", 1)[0].decode("ascii", "replace") if code == _RESPONSE_OK and error == 0 else None


def ask(machine: Machine, command: str) -> str | None:
    """What the firmware says to ``command`` (``get_throttled``); None where there is none or we may not ask it."""
    if not machine.is_real:
        return None
    message = question(command)
    for device in _DEVICES:
        try:
            channel = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.ioctl(channel, _IOCTL_MBOX_PROPERTY, message)
            return reply_text(message)
        except OSError:
            continue
        finally:
            os.close(channel)
    return None
