"""aiohttp, which nats-py (2.16) uses for websockets alone, but loads with itself: more than half of the time that takes.

A program of ours puts that off, until a hub behind ``ws://`` or ``wss://`` is dialled.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

__all__ = ["load", "put_off"]


def put_off() -> None:
    """Have nats-py load without aiohttp. For the beginning of a program of ours, not of somebody else's: it counts for the whole process.

    Whatever else wants aiohttp there has to call :func:`load` before it is imported.
    """
    sys.modules.setdefault("aiohttp", None)  # type: ignore[arg-type]  # Python's own way to say that there is no such module


def load() -> bool:
    """Make websockets usable; False when aiohttp is not installed."""
    was_put_off = "aiohttp" in sys.modules and sys.modules["aiohttp"] is None
    if was_put_off:
        del sys.modules["aiohttp"]
    if importlib.util.find_spec("aiohttp") is None:
        return False
    if was_put_off:
        transport = importlib.import_module("nats.aio.transport")
        for name in ("aiohttp", "multidict"):  # it has None for both, and looks at them whenever it needs them
            setattr(transport, name, importlib.import_module(name))
    return True
