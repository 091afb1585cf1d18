"""One worker process: start it, ask it, kill it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
import sys
from collections.abc import Mapping
from importlib.machinery import ExtensionFileLoader, PathFinder
from pathlib import Path
from typing import Any

from edgeagent.errors import Refused

__all__ = ["Died", "WorkerProcess", "engine_path"]

_PROGRAM = Path(__file__).with_name("worker.py")
_WHAT = "evaluate filters"
_REMEDY = "install common-expression-language (it needs Python 3.11 and a platform that its wheels are made for)"


class Died(Exception):
    """The process ended before it answered. signal: the one that ended it, None if it exited by itself."""

    def __init__(self, returncode: int) -> None:
        self.signal = signal.Signals(-returncode) if returncode < 0 else None
        super().__init__(self.signal.name if self.signal else f"exit code {returncode}")


def engine_path() -> str:
    """Where the CEL engine's extension module is; its package is not imported. Raises Refused if it is not installed."""
    package = importlib.util.find_spec("cel")
    places = list(package.submodule_search_locations or ()) if package else []
    extension = PathFinder.find_spec("cel", places) if places else None
    if extension is None or not isinstance(extension.loader, ExtensionFileLoader):
        raise Refused(_WHAT, "the CEL engine is not installed here", _REMEDY)
    return str(extension.origin)


class WorkerProcess:
    """Made by :meth:`start`; of no use until :meth:`ready` has returned."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process, self._killed = process, False

    @classmethod
    async def start(cls, *, cpu_seconds: float, memory_bytes: int) -> WorkerProcess:
        """Start a worker. Raises Refused if there is no engine or no process to be had."""
        arguments = (engine_path(), str(cpu_seconds), str(memory_bytes))
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_PROGRAM), *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal is for the one who asked
            )
        except OSError as error:
            raise Refused(_WHAT, f"no process can be started: {error}") from error
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it runs, as far as is known."""
        return not self._killed and self._process.returncode is None

    async def ready(self) -> None:
        """Wait until it serves. Raises Refused if the engine cannot be loaded, Died if it ends."""
        banner = await self._receive()
        if "absent" in banner:
            raise Refused(_WHAT, f"the CEL engine cannot be loaded: {banner['absent']}", _REMEDY)

    async def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Its answer. Raises Died. One at a time; after a cancelled call the process must be killed."""
        stdin = self._process.stdin
        assert stdin is not None
        body = json.dumps(request, default=str).encode()
        try:
            stdin.write(len(body).to_bytes(4, "big") + body)
            await stdin.drain()
        except ConnectionError:
            raise Died(await self._process.wait()) from None
        return await self._receive()

    async def _receive(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        try:
            size = int.from_bytes(await stdout.readexactly(4), "big")
            return dict(json.loads(await stdout.readexactly(size)))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Died(await self._process.wait()) from None

    def kill(self) -> None:
        """End it at once; it has nothing to save."""
        self._killed = True
        if self._process.returncode is None:
            self._process.kill()

    async def ended(self) -> None:
        """Return when the process is gone."""
        await self._process.wait()
