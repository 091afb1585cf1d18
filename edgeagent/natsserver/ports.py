"""Ports on the loopback interface: which are free, and what answers there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
from collections import deque
from pathlib import Path
from typing import Any

__all__ = ["HOST", "banner", "is_free", "listens", "pick", "read"]

HOST = "127.0.0.1"
#: Linux takes ports for outgoing connections from 32768 on (net.ipv4.ip_local_port_range).
BELOW_EPHEMERAL = (16_384, 32_000)
TRIES = 100
_picked: deque[int] = deque(maxlen=1000)


def is_free(port: int, host: str = HOST) -> bool:
    """Whether a server could listen on this port now, at the address ``host``. True is a snapshot: another may take it a moment later."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As Go does: connections of the last server that still linger (TIME_WAIT) are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError:
            return False
    return True


def listens(pid: int, port: int) -> bool:
    """Whether it is this process, which must be of our user, that listens on the port, at whatever address. Nothing is opened: it may be
    about to."""
    with contextlib.suppress(OSError):
        return any(f"socket:[{inode}]" in _open_files(pid) for inode in _listening(port))
    return False


def _listening(port: int) -> list[str]:
    """Inodes of the sockets that listen on the port, proc(5)."""
    tables = [Path(f"/proc/net/{table}") for table in ("tcp", "tcp6")]
    rows = [row.split() for table in tables if table.exists() for row in table.read_text("ascii").splitlines()[1:]]
    return [row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"]


def _open_files(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.add(str(entry.readlink()))
    return found


def pick(host: str = HOST) -> int:
    """A port of ``host`` that is free now, and that no outgoing connection will take meanwhile: one below the kernel's own range, if it can be.

    Nor one that this process picked a short while ago: whoever it was for may not listen yet.
    """
    for _ in range(TRIES):
        chosen = random.randint(*BELOW_EPHEMERAL)
        if chosen not in _picked and is_free(chosen, host):
            _picked.append(chosen)
            return chosen
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
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


async def banner(port: int, timeout: float = 1.0) -> dict[str, Any] | None:
    """The INFO with which a nats-server greets a client of this port; None when nothing answers so within ``timeout`` seconds."""
    greeting = asyncio.ensure_future(_greeting(port))
    try:
        # Not wait_for: before Python 3.12 it can lose a cancellation, and a loop around us would go on for ever.
        await asyncio.wait({greeting}, timeout=timeout)
    finally:
        greeting.cancel()
        await asyncio.wait({greeting})
    if greeting.cancelled() or isinstance(greeting.exception(), (OSError, ValueError)):
        return None
    return greeting.result()


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
