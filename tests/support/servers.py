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
#: Bounds of the pause between two looks whether it is true, in seconds.
LOOK_SECONDS = 0.02, 0.1


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return as soon as ``condition()`` is true; fail the test when it is not within ``seconds``."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while True:
        found = condition()
        if await found if inspect.isawaitable(found) else found:
            return
        waited = clock() - began
        assert waited < seconds, f"still not true after {seconds:g} s: {what}"
        # What takes long is looked at less often: looking, with a login each time, takes from the processor that it waits for.
        await asyncio.sleep(min(max(LOOK_SECONDS[0], waited / 20), LOOK_SECONDS[1]))


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


class Server:
    """A nats-server of ours, with its files in ``folder`` and free ports that it keeps when it is started again.

    Its configuration has to say ``ports_file_dir`` and ``logfile``: :meth:`common`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.leaf_port = ports.pick(), ports.pick()
        self._process: subprocess.Popen[bytes] | None = None

    def common(self) -> str:
        """What every configuration begins with."""
        return f'''
            listen: 127.0.0.1:{self.port}
            ports_file_dir: "{self.folder}"
            logfile: "{self.log_file}"
        '''

    @property
    def log_file(self) -> Path:
        return self.folder / "hub.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def begin(self, configuration: str) -> None:
        """Start it; :meth:`ready` waits for it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "hub.conf"
        config.write_text(configuration)
        self._process = subprocess.Popen([binary.find().path, "-c", config])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def ready(self) -> None:
        process = self._process
        assert process is not None

        def is_ready() -> bool:
            assert process.poll() is None, f"the server ended: {self.log}"
            return ports.read(self.folder, process.pid) is not None

        await until(is_ready, "the server is ready")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class PlainHub(Server):
    """A nats-server with JetStream domain ``hub``, a port for clients and one for leaf nodes, and no logins.

    Use it as an async context manager.
    """

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def leaf_url(self) -> str:
        return f"nats-leaf://127.0.0.1:{self.leaf_port}"

    async def start(self) -> None:
        self.begin(f"""
            server_name: hub
            {self.common()}
            jetstream {{ store_dir: "{self.folder}/js", domain: hub, max_memory_store: 8M, max_file_store: 64M }}
            leafnodes {{ listen: 127.0.0.1:{self.leaf_port}, no_advertise: true, isolate_leafnode_interest: true }}
        """)
        await self.ready()

    async def __aenter__(self) -> PlainHub:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
