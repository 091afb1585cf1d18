"""Leaf nodes of a hub with no agent beside them: what stands in for many devices, or for the least that a device could do."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from edgeagent import subjects
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import Keyring
from edgeagent.link import Client, connect
from edgeagent.natsserver import binary, ports
from tests.support.servers import until

__all__ = ["BareLeafs"]

PATIENCE_SECONDS = 60.0


class BareLeafs:
    """``async with BareLeafs(hub, folder) as leafs``: nats-servers of their own, with their files below ``folder``.

    Their devices are in no register.
    """

    def __init__(self, hub: HubFolder, folder: Path) -> None:
        self._folder, self._port, self._keyring = folder, hub.options().leaf_port, Keyring.load(hub.path)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> BareLeafs:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def add(self, device: str, *groups: str) -> Client:
        """One more leaf; a connection to it that may do what an agent may."""
        url = await self._started(device, groups)
        client = await connect(url, what="reach the leaf", name="agent", inbox_prefix=subjects.agent_inbox(device))
        self._stack.push_async_callback(client.close)
        return client

    async def _started(self, device: str, groups: tuple[str, ...]) -> str:
        folder, port = self._folder / device, ports.pick()
        folder.mkdir()
        (folder / "device.creds").write_text(self._keyring.device_credentials(device, groups).format())
        (folder / "leaf.conf").write_text(f"""
            server_name: {device}-x
            listen: 127.0.0.1:{port}
            ports_file_dir: "{folder}"
            logfile: "{folder}/leaf.log"
            leafnodes {{ reconnect: "200ms", remotes: [
              {{ url: "nats-leaf://127.0.0.1:{self._port}", credentials: "{folder}/device.creds" }}
            ] }}
        """)
        process = self._run(folder / "leaf.conf")
        await until(lambda: ports.read(folder, process.pid) is not None, f"the leaf of {device} is ready", PATIENCE_SECONDS)
        return f"nats://127.0.0.1:{port}"

    def _run(self, conf: Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([binary.find().path, "-c", str(conf)])
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process
