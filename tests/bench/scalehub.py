"""A hub of one server or of three for the scale benchmark, made and run as people do, with thousands of devices in its register."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from edgeagent.assembly.hublogin import sign_in
from edgeagent.fleet import Fleet
from edgeagent.hub import register
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import Keyring
from edgeagent.interpreter import argv
from edgeagent.link import Client
from edgeagent.natsserver import binary, ports
from edgeagent.trust.creds import Credentials
from tests.support.fleet import cli
from tests.support.home import own_home
from tests.support.hub import answers
from tests.support.servers import until

__all__ = ["GROUP", "ScaleHub", "hub_of"]

GROUP, STORE_BYTES, PATIENCE_SECONDS = "berlin", 1 << 30, 300.0
#: What changes in memory some seconds after thousands of links were made.
SETTLE_SECONDS = 5.0


@contextlib.asynccontextmanager
async def hub_of(size: int, *, compress: bool = True) -> AsyncIterator[ScaleHub]:
    """size: 1 or 3. compress: as in hub.toml. It is up; the home is one of its own."""
    with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as name, own_home(Path(name) / "home"):
        base = {kind: _free(size) for kind in ("--client-port", "--leaf-port", "--route-port")}
        options = [word for kind, port in base.items() if size > 1 or kind != "--route-port" for word in (kind, str(port))]
        cluster = ["--cluster", str(size)] if size > 1 else []
        made = cli("hub", "init", "--dir", f"{name}/hub", "--store-bytes", str(STORE_BYTES), *cluster, *options)
        assert made.code == 0, made.err
        folders = [Path(name, "hub" if number == 1 else f"hub-{number}") for number in range(1, size + 1)]
        hub = ScaleHub(folders, compress=compress)
        try:
            await hub.start()
            yield hub
        finally:
            await hub.close()


def _free(count: int) -> int:
    """The first of so many ports in a row that are free."""
    while True:
        first = ports.pick()
        if all(ports.is_free(first + more) for more in range(1, count)):
            return first


class ScaleHub:
    """folders: of its servers, in their order."""

    def __init__(self, folders: list[Path], *, compress: bool) -> None:
        self.places = [HubFolder(folder) for folder in folders]
        self.keyring = Keyring.load(folders[0])
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stack = contextlib.AsyncExitStack()
        for place in self.places:  # as a fleet of this size needs it; and /metrics is not what is measured
            text = place.options_file.read_text().replace("micro = true", "micro = false")
            text = text.replace("compress = true", f"compress = {str(compress).lower()}")
            text = text.partition("[metrics]")[0] + '\n[metrics]\nlisten = ""\n'
            place.options_file.write_text(text)

    async def start(self) -> None:
        self._processes = [self._run(place) for place in self.places]
        for place in self.places:
            await until(lambda place=place: answers(place), "the hub's services answer", PATIENCE_SECONDS)  # type: ignore[misc]

    async def close(self) -> None:
        await self._stack.aclose()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()

    def _run(self, place: HubFolder) -> subprocess.Popen[bytes]:
        with (place.path / "up.log").open("ab") as log:
            return subprocess.Popen(argv("edgeagent", "hub", "up", "--dir", str(place.path)), stdout=log, stderr=log)

    def kill(self, number: int) -> None:
        """``kill -9`` of a nats-server and of the services beside it, as if its machine had lost power."""
        self._processes[number].kill()
        os.kill(self._server(self.places[number]), signal.SIGKILL)
        self._processes[number].wait()

    async def revive(self, number: int) -> None:
        self._processes[number] = self._run(self.places[number])
        await until(lambda: answers(self.places[number]), "the killed server's services answer", PATIENCE_SECONDS)

    @property
    def leaf_ports(self) -> list[int]:
        return [place.options().leaf_port for place in self.places]

    @property
    def memory_bytes(self) -> int:
        """Of all nats-servers together."""
        return sum(resident(self._server(place)) for place in self.places)

    @property
    def services_bytes(self) -> int:
        return sum(resident(process.pid) for process in self._processes)

    def _server(self, place: HubFolder) -> int:
        return int(place.server_pid.read_text())

    async def client(self, service: Any) -> Client:
        client = await sign_in(self.places[0], self.keyring, service)
        self._stack.push_async_callback(client.close)
        return client

    def credentials(self, count: int, prefix: str = "pi") -> list[Credentials]:
        return [self.keyring.device_credentials(f"{prefix}-{number:05}", [GROUP]) for number in range(count)]

    async def register(self, count: int) -> list[Credentials]:
        """So many devices in the register."""
        hub, made = await self.client("hub"), self.credentials(count)
        for first in range(0, count, 200):
            await asyncio.gather(
                *(register.add(hub, register.record_of(each, [GROUP])) for each in made[first : first + 200]),
            )
        return made

    async def until_online(self, fleet: Fleet, count: int) -> None:
        async def all_are() -> bool:
            devices = (await fleet.roster()).devices.values()
            return sum(device.presence is not None and device.presence.online for device in devices) == count

        await until(all_are, "the hub says that all are online", PATIENCE_SECONDS)

    async def real_leafs(self, count: int) -> tuple[float, float]:
        """KiB of the server's memory for each link of a nats-server as a leaf: at first, and when all were ended once and are back."""
        system, before = await self.client("sys"), self.memory_bytes
        with contextlib.ExitStack() as stack:
            for each in self.credentials(count, "real"):
                self._real(each, stack)
            await until(lambda: self._linked(system, count), "all real leafs are linked", PATIENCE_SECONDS)
            await asyncio.sleep(SETTLE_SECONDS)
            fresh = self.memory_bytes - before
            await self._end_all(system)
            await until(lambda: self._linked(system, count), "all real leafs are back", PATIENCE_SECONDS)
            await asyncio.sleep(SETTLE_SECONDS)
            return fresh / count / 1024, (self.memory_bytes - before) / count / 1024

    def _real(self, login: Credentials, stack: contextlib.ExitStack) -> None:
        folder = self.places[0].path.parent / login.name
        folder.mkdir()
        (folder / "device.creds").write_text(login.format())
        (folder / "leaf.conf").write_text(f"""
            server_name: {login.name}-x
            listen: 127.0.0.1:-1
            logfile: "{folder}/leaf.log"
            leafnodes {{ reconnect: "1s", remotes: [
              {{ url: "nats-leaf://127.0.0.1:{self.leaf_ports[0]}", credentials: "{folder}/device.creds", compression: s2_fast }}
            ] }}
        """)
        process = subprocess.Popen([binary.find().path, "-c", str(folder / "leaf.conf")], env={**os.environ, "GOMAXPROCS": "1"})
        stack.callback(process.wait)
        stack.callback(process.kill)

    async def _leafz(self, system: Client) -> Any:
        return json.loads((await system.request("$SYS.REQ.SERVER.PING.LEAFZ", b"{}", timeout=10)).data)

    async def _linked(self, system: Client, count: int) -> bool:
        return len((await self._leafz(system))["data"].get("leafs") or ()) >= count

    async def _end_all(self, system: Client) -> None:
        found = await self._leafz(system)
        for leaf in found["data"]["leafs"]:
            await system.request(
                f"$SYS.REQ.SERVER.{found['server']['id']}.KICK", json.dumps({"cid": leaf["id"]}).encode(), timeout=10
            )
        ended = {leaf["id"] for leaf in found["data"]["leafs"]}

        async def gone() -> bool:
            return not ended & {leaf["id"] for leaf in (await self._leafz(system))["data"].get("leafs") or ()}

        await until(gone, "the links have ended")


def resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))
