"""Values in nats-server's configuration language; pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["listed", "quote", "rights"]


def rights(allow: Iterable[str], deny: Iterable[str] = ()) -> str:
    """What a user may publish or subscribe to."""
    return f"{{ allow: {listed(allow)}, deny: {listed(deny)} }}"


def listed(texts: Iterable[str]) -> str:
    """A list of strings."""
    return f"[{', '.join(quote(text) for text in texts)}]"


#: The escapes that nats-server's parser knows (conf/lex.go); any other character but a control one stands for itself.
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quote(value: str | Path) -> str:
    """``value`` as a string of the configuration language.

    Other control characters, and bytes of a file name that are no UTF-8, are written as ``\\xNN``.
    """
    return '"' + "".join(_ESCAPES.get(char) or _plain(char) for char in str(value)) + '"'


def _plain(char: str) -> str:
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode's marks for such bytes
        return f"\\x{code - 0xDC00:02x}"
    return char
