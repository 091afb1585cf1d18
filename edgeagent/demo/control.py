"""How ``edgeagent demo cut ID`` reaches the demo that runs: a note of where it is, and a socket that only its user can open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from edgeagent import context, files, places
from edgeagent.errors import EdgeError, Failed, Refused, Unreachable

__all__ = ["Running", "find", "noted", "offer", "tell"]

#: Does what a request says and returns the sentence to print; raises EdgeError.
Handler = Callable[[dict[str, Any]], Awaitable[str]]


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """The demo that runs: its process, its folder and its socket. before: the context that was current, empty if there was none."""

    pid: int
    folder: str
    socket: str
    before: str = ""


def _note() -> Path:
    return places.state_folder(system=False) / "demo.json"


def noted() -> Running | None:
    """The demo that was started last by this user and not ended in order: it runs, or it was killed."""
    data = files.read_if_there(_note())
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        return None if data is None else msgspec.json.decode(data, type=Running)
    return None


def find() -> Running | None:
    """The demo that runs for this user, None if there is none."""
    running = noted()
    if running is not None:
        # Not the process id: it may be another's by now, or a zombie's. Who listens, lives.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(running.socket)
            return running
    return None


@contextlib.asynccontextmanager
async def offer(folder: Path, handle: Handler) -> AsyncIterator[None]:
    """Answer requests while the block runs. Raises Refused when a demo runs already, Failed when there can be no socket."""
    other = find()
    if other:
        raise Refused("start a demo", f"one runs already in {other.folder} (pid {other.pid})", "end that one first with Ctrl-C")
    address = Path(tempfile.mkdtemp(prefix="edgeagent-demo-")) / "control.sock"  # a short path: sockets allow 107 bytes
    files.make_folder(_note().parent, 0o700)
    try:
        server = await asyncio.start_unix_server(lambda r, w: _serve(r, w, handle), path=str(address))
    except OSError as error:
        address.parent.rmdir()
        raise Failed("start a demo", f"no socket can be made at {address} ({error})", "set TMPDIR to a short path") from None
    running = Running(pid=os.getpid(), folder=str(folder), socket=str(address), before=context.current_name() or "")
    files.write_atomic(_note(), msgspec.json.encode(running), 0o600)
    try:
        yield
    finally:
        server.close()
        for path in (_note(), address):
            path.unlink(missing_ok=True)
        address.parent.rmdir()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handler) -> None:
    with contextlib.suppress(OSError, ValueError):
        try:
            answer = {"said": await handle(json.loads(await reader.readline()))}
        except EdgeError as error:
            answer = {"what": error.what, "why": error.why, "remedy": error.remedy}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
    writer.close()


def tell(request: dict[str, Any]) -> str:
    """Send a request to the demo that runs; what it said. Raises EdgeError, also the demo's own."""
    running = find()
    if running is None:
        raise Unreachable("reach the demo", "no demo is running", "start one in another terminal: `edgeagent demo`")
    answer = asyncio.run(_ask(running.socket, request))
    if "said" in answer:
        return str(answer["said"])
    raise Failed(answer["what"], answer["why"], answer["remedy"])


async def _ask(address: str, request: dict[str, Any]) -> dict[str, Any]:
    try:
        reader, writer = await asyncio.open_unix_connection(address)
        writer.write(json.dumps(request).encode() + b"\n")
        line = await reader.readline()
        writer.close()
    except OSError as error:
        raise Unreachable("reach the demo", str(error), "is it ending just now?") from None
    if not line.endswith(b"\n"):
        raise Unreachable("reach the demo", "it ended without an answer")
    answer: dict[str, Any] = json.loads(line)
    return answer
