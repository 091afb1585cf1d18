"""Ports on the loopback interface: which are free, and what answers there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from pathlib import Path
from typing import Any

__all__ = ["HOST", "banner", "clear", "is_free", "pick", "read"]

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now. True is a snapshot: another may take it a moment later."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As Go does: connections of the last server that still linger (TIME_WAIT) are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError:
            return False
    return True


def pick() -> int:
    """A port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def read(folder: Path, pid: int) -> dict[str, list[str]] | None:
    """What nats-server wrote into ``ports_file_dir`` once all its listeners were open: ``{"nats": [url], "leafnodes": [url]}``.

    None: not yet, or only half written. The file is named ``<program>_<pid>.ports``, in whatever way the program is called.
    """
    for path in folder.glob(f"*_{pid}.ports"):
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, list[str]] = json.loads(path.read_bytes())
            return found
    return None


def clear(folder: Path) -> None:
    """Remove the ports files of servers that were killed; a later one could get the same pid."""
    for path in folder.glob("*.ports"):
        with contextlib.suppress(OSError):
            path.unlink()


async def banner(port: int, timeout: float = 1.0) -> dict[str, Any] | None:
    """The INFO with which a nats-server greets a client of this port; None when nothing answers so within ``timeout`` seconds."""
    try:
        return await asyncio.wait_for(_greeting(port), timeout)
    except (OSError, ValueError, asyncio.TimeoutError):
        return None


async def _greeting(port: int) -> dict[str, Any]:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        verb, _, body = (await reader.readline()).partition(b" ")
        if verb != b"INFO":
            raise ValueError(f"no nats-server at port {port}")
        info: dict[str, Any] = json.loads(body)
        return info
    finally:
        writer.close()
