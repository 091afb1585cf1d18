"""A tampered device: speaks nats-server's LEAF protocol itself and ignores every permission that the hub tells it.

A stock leaf server filters what it sends by the permissions in the hub's INFO, so it proves nothing about the hub. Lines of the
protocol, as leafnode.go has them: ``LS+ subject``, ``LMSG subject [reply] size``, ``HMSG subject [reply] header-size size``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from typing import NamedTuple

from edgeagent.trust.creds import Credentials, callbacks
from edgeagent.trust.nkeys import KeyPair

#: Only so that a broken hub fails a test rather than hanging it; nothing is expected to take long.
PATIENCE_SECONDS = 10.0


class Message(NamedTuple):
    subject: str
    reply: str
    headers: bytes
    data: bytes


class Rogue:
    """One leaf connection. Everything received is in ``messages``; ``subscriptions`` are those that the hub announced."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, device_id: str) -> None:
        self._reader, self._writer = reader, writer
        self._pongs: asyncio.Queue[None] = asyncio.Queue()
        self._arrived = asyncio.Condition()
        self._numbers = itertools.count(1)
        self.device_id = device_id
        self.messages: list[Message] = []
        self.errors: list[str] = []
        self.subscriptions: list[str] = []
        self.closed = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def connect(
        cls, port: int, credentials: Credentials, *, is_hub: bool = False, name: str = "", account: str = ""
    ) -> Rogue:
        """Connect and sign in; see ``closed`` for whether the hub liked it. is_hub: claim to be the hub's side of the link.

        name: the server name that it claims, a random one unless given. account: what it calls its own account, EDGE for a stock leaf
        of ours; to the hub two leafs are one only if both are equal.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        rogue = cls(reader, writer, credentials.name)
        info = json.loads((await reader.readline()).removeprefix(b"INFO "))
        give_jwt, sign = callbacks(credentials)
        server_id = KeyPair.generate("server").public
        hello = {
            "jwt": give_jwt().decode(),
            "sig": sign(info["nonce"]).decode(),
            "server_id": server_id,
            "name": name or server_id,
            "cluster": name,  # as stock leafs have it that are in no cluster
            "version": info["version"],
            "is_hub": is_hub,
            "remote_account": account,
            "headers": True,
            "protocol": 1,
        }
        writer.write(f"CONNECT {json.dumps(hello)}\r\n".encode())
        rogue._reading = asyncio.create_task(rogue._read(), name="rogue reader")
        await rogue.settle()
        return rogue

    async def __aenter__(self) -> Rogue:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self._writer.close()
        await asyncio.wait_for(self.closed.wait(), PATIENCE_SECONDS)

    def subscribe(self, subject: str, *, queue: str = "") -> None:
        self._send(f"LS+ {subject} {queue} 1" if queue else f"LS+ {subject}")

    def publish(
        self,
        subject: str,
        data: bytes = b"",
        *,
        reply: str = "",
        queue: str = "",
        headers: Mapping[str, str] | bytes | None = None,
    ) -> None:
        """headers: a mapping, or the raw block with its ``NATS/1.0`` line for what no client would send.

        queue: the group of the same account that shall have it, besides plain subscribers; needs a reply. A leaf names it, or none gets it.
        """
        to = f"{subject} + {reply} {queue}" if queue else f"{subject} {reply}" if reply else subject
        if headers is None:
            self._send(f"LMSG {to} {len(data)}", data)
            return
        if not isinstance(headers, bytes):
            headers = b"NATS/1.0\r\n" + b"".join(f"{key}: {value}\r\n".encode() for key, value in headers.items()) + b"\r\n"
        self._send(f"HMSG {to} {len(headers)} {len(headers) + len(data)}", headers + data)

    async def request(
        self, subject: str, data: bytes = b"", *, headers: Mapping[str, str] | bytes | None = None
    ) -> Message | None:
        """Publish with an own inbox as the reply; the first answer, None when the link was closed instead."""
        inbox = f"edge.to.device.{self.device_id}.in.{next(self._numbers)}"
        self.subscribe(inbox)
        self.publish(subject, data, reply=inbox, headers=headers)
        return await self.next_on(inbox)

    async def next_on(self, subject: str) -> Message | None:
        """The first message on exactly ``subject``, waiting for it; None when the link was closed."""

        def found() -> Message | None:
            return next((message for message in self.messages if message.subject == subject), None)

        async with self._arrived:
            waiting = self._arrived.wait_for(lambda: found() is not None or self.closed.is_set())
            await asyncio.wait_for(waiting, PATIENCE_SECONDS)
        return found()

    async def settle(self) -> bool:
        """Wait until the hub has read every line sent so far; whether it kept the link open."""
        self._send("PING")
        ways = [asyncio.ensure_future(self._pongs.get()), asyncio.ensure_future(self.closed.wait())]
        done, pending = await asyncio.wait(ways, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for way in pending:
            way.cancel()
        assert done, "the hub neither answered a PING nor closed the link"
        return not self.closed.is_set()

    def _send(self, line: str, body: bytes | None = None) -> None:
        if not self._writer.is_closing():
            self._writer.write(line.encode() + b"\r\n" + (body + b"\r\n" if body is not None else b""))

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                await self._take(line.strip())
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the hub hung up, which is what many tests wait for
        finally:
            self.closed.set()
            async with self._arrived:
                self._arrived.notify_all()

    async def _take(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        if verb == b"PING":
            self._send("PONG")
        elif verb == b"PONG":
            self._pongs.put_nowait(None)
        elif verb == b"-ERR":
            self.errors.append(rest.decode())
        elif verb == b"LS+":
            self.subscriptions.append(rest.decode())
        elif verb in (b"LMSG", b"HMSG"):
            await self._take_message(verb, rest.decode().split())

    async def _take_message(self, verb: bytes, words: list[str]) -> None:
        size = int(words[-1])
        header_size = int(words[-2]) if verb == b"HMSG" else 0
        middle = words[1 : -2 if verb == b"HMSG" else -1]
        block = (await self._reader.readexactly(size + 2))[:-2]
        # With queue groups, "+" or "|" stands before the reply or in its place.
        reply = middle[0] if middle and middle[0] not in "+|" else middle[1] if len(middle) > 1 and middle[0] == "+" else ""
        self.messages.append(Message(words[0], reply, block[:header_size], block[header_size:]))
        async with self._arrived:
            self._arrived.notify_all()
