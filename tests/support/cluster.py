"""A hub of three servers on this machine, made by ``hub init --cluster 3`` and run by three ``hub up``."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeagent.hub.folder import HubFolder
from edgeagent.link import Client
from edgeagent.natsserver import ports
from tests.support import quick
from tests.support.fleet import PATIENCE_SECONDS, Said, cli
from tests.support.home import own_home
from tests.support.servers import kill, kill_leftovers, until

__all__ = ["SIZE", "ClusterHub", "new_cluster", "ports_in_a_row"]

SIZE = 3
STORE_BYTES = 256 << 20


def ports_in_a_row(count: int = SIZE) -> int:
    """The first of so many free ports one after the other."""
    while True:
        first = ports.pick()
        if all(ports.is_free(first + more) for more in range(1, count)):
            return first


class ClusterHub:
    """Servers are numbered from 0. made: what `hub init` said."""

    def __init__(self, path: Path, *words: str) -> None:
        self.ports = ports_in_a_row(), ports_in_a_row(), ports_in_a_row()
        names = ("--client-port", "--leaf-port", "--route-port")
        numbers = [word for name, port in zip(names, self.ports, strict=True) for word in (name, str(port))]
        more = ("--cluster", str(SIZE), "--store-bytes", str(STORE_BYTES), "--admin", "olga", *words)
        self.made: Said = cli("hub", "init", "--dir", str(path), "--name", "berlin", *numbers, *more)
        assert self.made.code == 0, self.made
        self.places = [HubFolder(path), *(HubFolder(path.with_name(f"{path.name}-{number}")) for number in range(2, SIZE + 1))]
        self._running: list[subprocess.Popen[bytes] | None] = [None] * SIZE
        self._seen = [0] * SIZE

    def log(self, number: int) -> str:
        path = self.places[number].path / "up.log"
        return path.read_text() if path.exists() else ""

    def up(self, number: int) -> None:
        """Start one; nothing is waited for."""
        place = self.places[number].path
        self._seen[number] = len(self.log(number))
        with (place / "up.log").open("ab") as log:
            self._running[number] = subprocess.Popen(quick.hub("up", "--dir", str(place)), stdout=log, stderr=log)

    def is_up(self, number: int) -> bool:
        process = self._running[number]
        assert process is not None and process.poll() is None, self.log(number)
        return "the hub is up" in self.log(number)[self._seen[number] :]

    async def all_up(self) -> None:
        for number in range(SIZE):
            await until(lambda number=number: self.is_up(number), f"server {number} is up", PATIENCE_SECONDS)  # type: ignore[misc]  # bound

    def server_pid(self, number: int) -> int:
        return int(self.places[number].server_pid.read_text())

    def kill(self, number: int) -> None:
        """kill -9 of one with its nats-server: what a power cut does."""
        process = self._running[number]
        assert process is not None
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            kill(self.server_pid(number))
        self._running[number] = None

    def stop(self, number: int) -> int:
        """As systemd stops one; its exit code."""
        process = self._running[number]
        assert process is not None
        process.send_signal(signal.SIGTERM)
        self._running[number] = None
        return process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        for process in self._running:
            if process is not None:
                process.send_signal(signal.SIGTERM)
        for place, process in zip(self.places, self._running, strict=True):
            if process is not None:
                process.wait(PATIENCE_SECONDS)
            kill_leftovers(place.path)  # a nats-server whose `hub up` was killed


@contextlib.contextmanager
def new_cluster(folder: Path, *words: str) -> Iterator[ClusterHub]:
    """One that does not run yet; within the block the home is one of its own. words: more for `hub init`."""
    with own_home(folder / "home"):
        made = ClusterHub(folder / "hub", *words)
        try:
            yield made
        finally:
            made.close()


async def stream(hub: Client, name: str) -> dict[str, Any]:
    """What the server that leads it says of a stream."""
    found: dict[str, Any] = json.loads((await hub.request(f"$JS.API.STREAM.INFO.{name}", b"", timeout=5)).data)
    return found
