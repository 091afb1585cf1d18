"""A hub without logins whose three ports are TLS, and the certificates for it."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from edgeagent.hub import certificates
from edgeagent.hub.certificates import Pair
from edgeagent.natsserver import binary, ports
from tests.support.servers import until

__all__ = ["LATER", "TlsHub", "presented"]

LATER = datetime.now(timezone.utc) + timedelta(days=100)


class TlsHub:
    """A nats-server below ``folder``. names: of its certificate. ends: its last moment.

    ``authorities`` is the file with the authority that signed it. Use it as an async context manager.
    """

    def __init__(self, folder: Path, names: Sequence[str] = ("localhost", "127.0.0.1"), ends: datetime = LATER) -> None:
        folder.mkdir(parents=True)
        self.folder, self.names = folder, names
        self.port, self.leaf_port, self.websocket_port = ports.pick(), ports.pick(), ports.pick()
        self.authorities, self.certificate, self.key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
        self.authority = certificates.make_authority(f"CA of {folder.name}", max(LATER, ends))
        self.authorities.write_bytes(self.authority.certificate)
        self.use(certificates.make_server(self.authority, names, ends))
        self._process: subprocess.Popen[bytes] | None = None

    def use(self, pair: Pair) -> None:
        self.certificate.write_bytes(pair.certificate)
        self.key.write_bytes(pair.key)

    @property
    def log(self) -> str:
        return (self.folder / "hub.log").read_text()

    def url(self, scheme: str, host: str = "127.0.0.1") -> str:
        """scheme: ``tls-leaf`` is ``tls://`` at the port for leafs."""
        port = {"tls": self.port, "nats": self.port, "tls-leaf": self.leaf_port}.get(scheme, self.websocket_port)
        return f"{scheme.partition('-')[0]}://{host}:{port}"

    async def __aenter__(self) -> TlsHub:
        files = f'cert_file: "{self.certificate}", key_file: "{self.key}"'
        config = self.folder / "hub.conf"
        config.write_text(
            f"""server_name: hub
listen: 127.0.0.1:{self.port}
ports_file_dir: "{self.folder}"
logfile: "{self.folder}/hub.log"
tls {{ {files} }}
leafnodes {{ listen: 127.0.0.1:{self.leaf_port}, no_advertise: true, tls {{ {files}, handshake_first: true }} }}
websocket {{ listen: "127.0.0.1:{self.websocket_port}", tls {{ {files} }} }}
"""
        )
        self._process = process = _start(config)
        await until(lambda: ports.read(self.folder, process.pid) is not None, "the hub is ready")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _start(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([binary.find().path, "-c", config])


async def presented(port: int, *, greets: bool = False) -> bytes:
    """The certificate, DER, that is shown at the port of 127.0.0.1. greets: it says a line before it speaks TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=None if greets else context)
    if greets:
        await reader.readline()
        transport = await asyncio.get_running_loop().start_tls(writer.transport, asyncio.Protocol(), context)
        assert transport is not None
        found = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        transport.close()
    else:
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
    return bytes(found)
