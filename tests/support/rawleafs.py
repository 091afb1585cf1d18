"""Thousands of devices in one process: each a leaf connection that speaks nats-server's LEAF protocol itself, with an agent's
subscriptions, an agent's answer to live queries, and a way back to another server when its own is gone.

They stand in for devices where a nats-server and an agent for each would not fit on the machine. What they are not: their links are
not compressed, nothing is stored on them, and none of them is slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Iterable, Sequence
from typing import Any

from edgeagent import subjects, wire
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust.creds import Credentials, callbacks

__all__ = ["RawLeaf", "RawLeafs", "heard"]

#: As the product's leafs: they dial again after so many seconds, by chance up to twice as many.
RECONNECT_SECONDS = 1.0
#: How long a server may take to answer the first PING, in seconds: with thousands at once it takes a while.
JOIN_SECONDS = 60.0
_ANSWER = wire.encode(wire.Answer("match"))


def heard(device: str, groups: Sequence[str] = ()) -> list[str]:
    """What the leaf of a real device in a fleet above 500 (``hub.micro`` off) tells the hub that it wants."""
    scopes = [FLEET_ALL, *(Scope.group(group) for group in groups), Scope("device", device)]
    bells = [f"edge.to.{scope}.{what}" for scope in scopes for what in ("query", "config", "command")]
    own = [f"edge.to.device.{device}.record", f"edge.to.device.{device}.in.{'x' * 22}.*", "$LDS.0123456789abcdefghijkl"]
    return [*bells, *own, *(subjects.config_doorbell(scope) for scope in (subjects.SIGNERS, subjects.AUTHORITIES))]


class RawLeaf(asyncio.Protocol):
    """One device. ports: of the hub's servers, of which it takes one by chance, as a leaf does.

    port: of the server that it is linked to and that has read all its subscriptions, 0 for none. acknowledged: answers to what it stored.
    """

    def __init__(self, credentials: Credentials, ports: Sequence[int], groups: Sequence[str] = ()) -> None:
        self.device, self.ports, self.port = credentials.name, list(ports), 0
        self.errors = list[str]()
        self.acknowledged, self.answers = asyncio.Queue[bytes](), 0
        self._credentials, self._wanted = credentials, heard(credentials.name, groups)
        self._name = f"{self.device}-raw"
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()

    async def run(self) -> None:
        """Be linked for ever."""
        loop = asyncio.get_running_loop()
        while True:
            port = random.choice(self.ports)
            with contextlib.suppress(OSError):
                self._gone = loop.create_future()
                await loop.create_connection(lambda: self, "127.0.0.1", port)
                self._dialled = port
                await self._gone
            self.port = 0
            await asyncio.sleep(RECONNECT_SECONDS * random.uniform(1, 2))

    def publish(self, subject: str, data: bytes, *, reply: str = "") -> None:
        self._send(f"LMSG {subject} {reply + ' ' if reply else ''}{len(data)}\r\n".encode() + data + b"\r\n")

    @property
    def inbox(self) -> str:
        return f"edge.to.device.{self.device}.in.{'x' * 22}.1"

    # ---- asyncio ----

    def connection_made(self, transport: Any) -> None:
        self._transport, self._buffer = transport, bytearray()

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        if not self._gone.done():
            self._gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n")) >= 0:
            line = bytes(self._buffer[:end])
            if line.startswith((b"LMSG", b"HMSG")):
                words = line.split()
                size = int(words[-1])
                if len(self._buffer) < end + 4 + size:
                    return
                self._take_message(words, bytes(self._buffer[end + 2 : end + 2 + size]))
                del self._buffer[: end + 4 + size]
                continue
            del self._buffer[: end + 2]
            self._take(line)

    # ---- the protocol ----

    def _take(self, line: bytes) -> None:
        if line.startswith(b"PING"):
            self._send(b"PONG\r\n")
        elif line.startswith(b"PONG"):
            self.port = self._dialled
        elif line.startswith(b"INFO") and b'"nonce"' in line:
            self._sign_in(json.loads(line[5:]))
        elif line.startswith(b"-ERR"):
            self.errors.append(line.decode())

    def _sign_in(self, info: dict[str, Any]) -> None:
        give_jwt, sign = callbacks(self._credentials)
        hello = {
            "jwt": give_jwt().decode(),
            "sig": sign(info["nonce"]).decode(),
            "server_id": self._name,
            "name": self._name,
            "cluster": self._name,
            "version": info["version"],
            "remote_account": "EDGE",
            "headers": True,
            "protocol": 1,
        }
        wanted = "".join(f"LS+ {subject}\r\n" for subject in self._wanted)
        self._send(f"CONNECT {json.dumps(hello)}\r\n{wanted}PING\r\n".encode())

    def _take_message(self, words: list[bytes], data: bytes) -> None:
        subject = words[1]
        if subject.endswith(b".query"):
            reply = words[2] if words[2] not in (b"+", b"|") else words[3]
            user = reply.decode().split(".")[2]
            token = wire.decode(data[int(words[-2]) if words[0] == b"HMSG" else 0 :], wire.Query).token
            self.publish(f"edge.from.{self.device}.reply.{user}.{token}", _ANSWER)
        elif b".in." in subject:
            self.acknowledged.put_nowait(data)

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


class RawLeafs:
    """``async with RawLeafs(credentials, ports) as leafs``: all of them, from then on."""

    def __init__(self, credentials: Iterable[Credentials], ports: Sequence[int], groups: Sequence[str] = ()) -> None:
        self.all = [RawLeaf(each, ports, groups) for each in credentials]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> RawLeafs:
        self._tasks = [asyncio.create_task(leaf.run()) for leaf in self.all]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for leaf in self.all:
            if leaf._transport is not None:
                leaf._transport.abort()

    def on(self, port: int) -> int:
        """How many are linked to the server with that port."""
        return sum(leaf.port == port for leaf in self.all)

    async def until_linked(self, seconds: float = 300.0) -> None:
        """Raises TimeoutError with what the servers said."""
        await self.until_linked_to(self.all[0].ports, seconds)

    async def until_linked_to(self, ports: Sequence[int], seconds: float = 300.0) -> None:
        """Until each is linked to one of these servers."""
        deadline = time.monotonic() + seconds
        while (linked := sum(leaf.port in ports for leaf in self.all)) < len(self.all):
            if time.monotonic() > deadline:
                said = {error for leaf in self.all for error in leaf.errors[-1:]}
                raise TimeoutError(f"{linked} of {len(self.all)} are linked after {seconds:g} s: {sorted(said)[:3]}")
            await asyncio.sleep(0.05)
