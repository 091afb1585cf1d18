"""A command line in this process: quicker than one of its own, where nothing of the process counts."""

from __future__ import annotations

import asyncio
from typing import Any

from typer.testing import CliRunner

from edgeagent.cli import app
from edgeagent.errors import EdgeError
from tests.support.fleet import Said

__all__ = ["here", "typed"]


def here(*words: str, **more: Any) -> Said:
    """Run ``edgeagent WORDS``; after an error of ours standard error is only what ended it. more: as for ``CliRunner.invoke``."""
    result = CliRunner().invoke(app, list(words), **more)
    if isinstance(result.exception, EdgeError):
        return Said(result.exception.exit_code, result.stdout, str(result.exception))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


async def typed(*words: str, **more: Any) -> Said:
    """The same from a test that has a loop of its own."""
    return await asyncio.to_thread(here, *words, **more)
