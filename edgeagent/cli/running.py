"""Runs a coroutine to its end. asyncio is loaded only by the commands that need it: `--help` stays quick."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["run", "undone_if_ended"]

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    return asyncio.run(work)


def undone_if_ended(work: Coroutine[Any, Any, T]) -> T:
    """The same for what leaves something behind unless it is undone: SIGTERM ends it as Ctrl-C does, and not at once."""
    import signal
    import sys
    import threading

    if threading.current_thread() is not threading.main_thread():  # nobody else may say what a signal does
        return run(work)
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return run(work)
    finally:
        signal.signal(signal.SIGTERM, before)
