"""A device for `edgeagent doctor` to look at, and to break: a real agent and leaf of the shared fleet, a real hub's TLS, and a fake Pi around it.

The state folder is a copy, so that whatever is broken is broken for the doctor alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from edgeagent import settings
from edgeagent.assembly.findings import Finding
from edgeagent.doctor.check import Patient
from edgeagent.doctor.examine import examine
from edgeagent.machine import Machine
from edgeagent.trust.certificates import Pair
from tests.support.fakeroot import FakeRoot
from tests.support.fleet import LiveFleet

__all__ = ["Doctored", "Levels", "by_check", "changed", "hub_that_shows", "in_name_space"]

#: What of the state folder the doctor looks at.
_STATE = ("device.creds", "secrets.json", "instance", "store.json")
#: What every check said, by its name.
Levels = dict[str, list[str]]


@dataclass
class Doctored:
    """hub: the url of one with TLS, whose certificate ``authorities`` signed. pi: around the device."""

    fleet: LiveFleet
    id: str
    folder: Path
    hub: str
    authorities: Path
    pi: FakeRoot
    values: dict[str, Any] = field(default_factory=dict)
    more: str = ""

    def __post_init__(self) -> None:
        self.real = settings.load(self.fleet.layout.settings(self.id))
        self.state, self.runtime, self.settings = self.folder / "state", self.folder / "run", self.folder / "agent.toml"
        self.state.mkdir(0o700)
        self.runtime.mkdir(0o755)
        for name in _STATE:
            shutil.copy2(self.real.state_folder / name, self.state)
        shutil.copy2(self.authorities, self.state / "authorities.pem")
        self.values = {"urls": [self.hub], "port": self.fleet.status(self.id).leaf.port, "server": ""}
        self.write()

    def write(self, **values: Any) -> None:
        """Write agent.toml, with other values than the right ones."""
        self.values |= values
        found = {name: json.dumps(value) for name, value in self.values.items()}
        self.settings.write_text(
            f'[device]\nid = "{self.id}"\n[hub]\nurls = {found["urls"]}\n'
            f"[leaf]\nport = {found['port']}\nserver = {found['server']}\nstore_max_bytes = {64 << 20}\n"
            f'[paths]\nstate = "state"\nruntime = "run"\n{self.more}'
        )

    def copy_status(self) -> None:
        """What the agent says of itself now."""
        self.change_status()

    def change_status(self, **parts: Any) -> None:
        """What the agent says of itself is otherwise so; ``leaf={"port": 1}`` changes that and nothing else of ``leaf``."""
        path = self.runtime / "status.json"
        found = json.loads(self.real.status_file.read_text())
        found["leaf"]["restarts"] = 0  # other tests with this fleet may have killed it
        for name, value in parts.items():
            found[name] = {**found[name], **value} if isinstance(value, dict) else value
        path.write_text(json.dumps(found))

    def findings(self, machine: Machine | None = None, **more: Any) -> list[Finding]:
        if not (self.runtime / "status.json").exists():
            self.copy_status()
        load = partial(settings.load, self.settings)
        return examine(Patient.load(load, machine=machine or self.pi.machine, **more))

    def levels(self, machine: Machine | None = None, **more: Any) -> Levels:
        return by_check(self.findings(machine, **more))


def by_check(findings: list[Finding]) -> Levels:
    levels: Levels = {}
    for finding in findings:
        levels.setdefault(finding.check, []).append(finding.level)
    return levels


def changed(before: Levels, after: Levels) -> set[str]:
    """The checks that say something else than before."""
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


@contextlib.contextmanager
def hub_that_shows(pair: Pair, folder: Path, *, greets: bool = False) -> Iterator[int]:
    """The port of a server on 127.0.0.1 that speaks TLS with this certificate. greets: after the first words of a nats-server."""
    for name, data in (("shown.pem", pair.certificate), ("shown.key", pair.key)):
        (folder / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "shown.pem", folder / "shown.key")
    loop, started, ports = asyncio.new_event_loop(), threading.Event(), []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if greets:
            writer.write(b'INFO {"tls_required": true}\r\n')
            with contextlib.suppress(OSError):
                await loop.start_tls(writer.transport, writer.transport.get_protocol(), context, server_side=True)
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=None if greets else context)
        ports.append(server.sockets[0].getsockname()[1])
        started.set()

    def run() -> None:
        loop.set_exception_handler(lambda *_: None)  # who distrusts a certificate ends the handshake
        loop.create_task(serve())
        loop.run_forever()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(asyncio.sleep(0))  # whom nobody served yet
        loop.close()


def in_name_space(script: str, device: Doctored) -> Levels:
    """What the doctor says after ``script`` has changed the mounts, which nobody else sees. ``$STATE`` is the state folder, ``$ROOM`` an empty one."""
    room = device.folder / "room"
    room.mkdir(exist_ok=True)
    device.copy_status()
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    doctor = f'exec {sys.executable} -m edgeagent doctor --json --settings "{device.settings}"'
    done = subprocess.run(
        ["unshare", *own, "--mount", "sh", "-ec", f"{script}\n{doctor}"],
        env={**os.environ, "STATE": str(device.state), "ROOM": str(room)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.startswith("["), done.stderr
    return by_check([Finding(**each) for each in json.loads(done.stdout)])
