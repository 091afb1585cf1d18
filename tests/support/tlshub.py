"""A hub without logins whose three ports are TLS, and the certificates for it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from edgeagent.natsserver import ports
from edgeagent.trust import certificates
from edgeagent.trust.certificates import Pair
from tests.support.servers import Server

__all__ = ["LATER", "TlsHub", "presented"]

LATER = datetime.now(timezone.utc) + timedelta(days=100)


class TlsHub(Server):
    """A nats-server below ``folder``. names: of its certificate. ends: its last moment.

    ``authorities`` is the file with the authority that signed it. Use it as an async context manager.
    """

    def __init__(self, folder: Path, names: Sequence[str] = ("localhost", "127.0.0.1"), ends: datetime = LATER) -> None:
        folder.mkdir(parents=True)
        super().__init__(folder)
        self.names, self.websocket_port = names, ports.pick()
        self.authorities, self.certificate, self.key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
        self.authority = certificates.make_authority(f"CA of {folder.name}", max(LATER, ends))
        self.authorities.write_bytes(self.authority.certificate)
        self.use(certificates.make_server(self.authority, names, ends))

    def use(self, pair: Pair) -> None:
        self.certificate.write_bytes(pair.certificate)
        self.key.write_bytes(pair.key)

    def url(self, scheme: str, host: str = "127.0.0.1") -> str:
        """scheme: ``tls-leaf`` is ``tls://`` at the port for leafs."""
        port = {"tls": self.port, "nats": self.port, "tls-leaf": self.leaf_port}.get(scheme, self.websocket_port)
        return f"{scheme.partition('-')[0]}://{host}:{port}"

    async def __aenter__(self) -> TlsHub:
        files = f'cert_file: "{self.certificate}", key_file: "{self.key}"'
        self.begin(f"""
            server_name: hub
            {self.common()}
            tls {{ {files} }}
            leafnodes {{ listen: 127.0.0.1:{self.leaf_port}, no_advertise: true, tls {{ {files}, handshake_first: true }} }}
            websocket {{ listen: "127.0.0.1:{self.websocket_port}", tls {{ {files} }} }}
        """)
        await self.ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()


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
