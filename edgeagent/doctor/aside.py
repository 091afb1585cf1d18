"""Work in a thread of its own that may never end: a name that is looked up, a disk that hangs. Such a thread keeps no program from ending."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["bounded", "start"]

T = TypeVar("T")


def start(work: Callable[[], T]) -> Future[T]:
    """Begin it; what it returns or raises is the future's."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def bounded(work: Callable[[], T], seconds: float) -> T:
    """What it returns or raises; TimeoutError when it takes longer, and then it goes on for nobody."""
    try:
        return start(work).result(seconds)
    except concurrent.futures.TimeoutError:
        raise TimeoutError from None  # in Python 3.10 they are not the same
