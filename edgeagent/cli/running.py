"""Runs a coroutine to its end. asyncio is loaded only by the commands that need it: `--help` stays quick."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["run"]

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    return asyncio.run(work)
