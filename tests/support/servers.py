"""Real nats-servers for tests: a hub without logins that takes leaf nodes, and waiting for things to be true."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

from edgeagent.natsserver import binary, ports

#: How long a test waits for something before it fails, in seconds: generous, for a busy machine.
PATIENCE_SECONDS = 30.0


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return as soon as ``condition()`` is true; fail the test when it is not within ``seconds``."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = condition()
        if await found if inspect.isawaitable(found) else found:
            return
        assert asyncio.get_running_loop().time() < deadline, f"still not true after {seconds:g} s: {what}"
        await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def kill_leftovers(folder: Path) -> None:
    """Kill every process that was started with a file or folder below ``folder``: what a failed test leaves behind."""
    mine = os.fsencode(folder)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if any(word.startswith(mine) for word in entry.joinpath("cmdline").read_bytes().split(b"\0")):
                kill(int(entry.name))


def _start(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([binary.find().path, "-c", config])


class PlainHub:
    """A nats-server with JetStream domain ``hub``, a port for clients and one for leaf nodes, and no logins.

    It keeps its ports when it is started again. Use it as an async context manager.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.leaf_port = ports.pick(), ports.pick()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def leaf_url(self) -> str:
        return f"nats-leaf://127.0.0.1:{self.leaf_port}"

    async def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "hub.conf"
        config.write_text(
            f"""server_name: hub
listen: 127.0.0.1:{self.port}
ports_file_dir: "{self.folder}"
logfile: "{self.folder}/hub.log"
jetstream {{ store_dir: "{self.folder}/js", domain: hub, max_memory_store: 8M, max_file_store: 64M }}
leafnodes {{ listen: 127.0.0.1:{self.leaf_port}, no_advertise: true, isolate_leafnode_interest: true }}
"""
        )
        self._process = process = _start(config)
        await until(lambda: ports.read(self.folder, process.pid) is not None, "the hub is ready")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def __aenter__(self) -> PlainHub:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
