"""A hub of a test's own, made and run by the command line."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeagent import subjects
from edgeagent.assembly.hublogin import sign_in
from edgeagent.assembly.hubmake import owner_file
from edgeagent.errors import EdgeError
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.owner import Owner
from edgeagent.link import request
from edgeagent.natsserver import ports
from tests.support import quick
from tests.support.fleet import PATIENCE_SECONDS, Said, cli
from tests.support.home import PASSPHRASE, own_home

__all__ = ["Hub", "answers", "ended", "new_hub", "quick_hub", "started"]

STORE_BYTES = 512 << 20


@dataclass
class Hub:
    """A hub that was made with ``hub init``, in a home of its own. ``command`` adds ``--dir``."""

    place: HubFolder
    client_port: int
    leaf_port: int
    made: Said

    def command(self, *words: str) -> Said:
        return cli(*words, "--dir", str(self.place.path))

    @property
    def owner(self) -> Owner:
        """All its keys. Only in its own home."""
        return Owner.load(owner_file(self.place.options().name), PASSPHRASE)

    def up(self) -> subprocess.Popen[str]:
        return quick_hub("up", self.place)

    def serve(self) -> subprocess.Popen[str]:
        return quick_hub("serve", self.place)

    async def answers(self) -> bool:
        return await answers(self.place)

    @property
    def server(self) -> int:
        return int(self.place.server_pid.read_text())


def quick_hub(word: str, place: HubFolder) -> subprocess.Popen[str]:
    """``hub up`` or ``hub serve`` with the pauses of :mod:`tests.support.quick`, its output in pipes. The caller ends it."""
    pipe = subprocess.PIPE
    return subprocess.Popen(quick.hub(word, "--dir", str(place.path)), stdout=pipe, stderr=pipe, text=True)


async def answers(place: HubFolder) -> bool:
    """Whether the hub's services answer administrators, the last thing that they begin to do; without a process for each look."""
    with contextlib.suppress(EdgeError):
        hub = await sign_in(place, Keyring.load(place.path), "hub")
        try:
            await request(hub, subjects.admin("test", "nothing"), what="ask for what no hub knows")
            return True
        finally:
            await hub.close()
    return False


@contextlib.contextmanager
def new_hub(folder: Path) -> Iterator[Hub]:
    """A hub in ``folder / "hub"`` that does not run yet; within the block the home is one of its own."""
    with own_home(folder / "home"):
        client_port, leaf_port = ports.pick(), ports.pick()
        numbers = [str(number) for number in (client_port, leaf_port, STORE_BYTES)]
        options = [word for pair in zip(("--client-port", "--leaf-port", "--store-bytes"), numbers, strict=True) for word in pair]
        path = folder / "hub"
        made = cli("hub", "init", "--dir", str(path), "--name", "berlin", "--admin", "olga", *options)
        yield Hub(HubFolder(path), client_port, leaf_port, made)


@contextlib.contextmanager
def started(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """See to it that the process ends, whatever becomes of the test."""
    try:
        yield process
    finally:
        if process.poll() is None:
            ended(process, signal.SIGTERM)


def ended(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Exit code and standard error of a process that was sent a signal."""
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, err
