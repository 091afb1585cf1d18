"""A nats-server with the accounts SYS, HUB and FLEET and passwords instead of keys: quick to start, for parts that need no JWT.

HUB has JetStream and a small EDGE_REPORTS; FLEET sees of it what devices see (docs/wire.md).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from edgeagent.link import Client, connect
from tests.support.servers import Server

__all__ = ["AccountsServer", "running"]


class AccountsServer(Server):
    """Every account has a user of its name in small letters, whose password is ``secret``."""

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.begin(f"""
{self.common()}
jetstream {{ store_dir: "{self.folder}/js", max_memory_store: 16M, max_file_store: 64M }}
system_account: SYS
accounts {{
  SYS {{ users: [{{ user: sys, password: secret }}] }}
  HUB {{
    jetstream: enabled
    users: [{{ user: hub, password: secret }}]
    exports: [
      {{ service: "$JS.API.DIRECT.GET.*.>" }}, {{ service: "$JS.API.DIRECT.GET.*", response_type: stream }},
      {{ service: "$JS.API.STREAM.INFO.*" }}, {{ service: "edge.from.>" }}
    ]
  }}
  FLEET {{
    users: [{{ user: fleet, password: secret }}]
    imports: [
      {{ service: {{ account: HUB, subject: "$JS.API.DIRECT.GET.*.>" }}, to: "edge.api.DIRECT.GET.*.>" }}
      {{ service: {{ account: HUB, subject: "$JS.API.DIRECT.GET.*" }}, to: "edge.api.DIRECT.GET.*" }}
      {{ service: {{ account: HUB, subject: "$JS.API.STREAM.INFO.*" }}, to: "edge.api.STREAM.INFO.*" }}
      {{ service: {{ account: HUB, subject: "edge.from.*.report" }} }}
      {{ service: {{ account: HUB, subject: "edge.from.*.heartbeat" }} }}
    ]
  }}
}}
""")
        await self.ready()

    async def connect(self, account: str, **options: object) -> Client:
        """A connection to ``account``; the caller closes it."""
        return await connect(
            self.url,
            what="reach the server",
            name=f"test {account}",
            inbox_prefix=f"_INBOX.{account.lower()}",
            password=(account.lower(), "secret"),
            **options,  # type: ignore[arg-type]  # passed on as they are
        )

    async def make_stream(self, name: str, *subjects: str) -> None:
        """A stream of the account HUB in memory, empty, that keeps the last message of each subject."""
        client = await self.connect("HUB")
        stream = StreamConfig(name=name, subjects=list(subjects), storage="memory", max_msgs_per_subject=1, allow_direct=True)  # type: ignore[arg-type]  # nats-py's own tests pass the word
        try:
            js = client.jetstream()
            with contextlib.suppress(NotFoundError):
                await js.delete_stream(name)
            await js.add_stream(stream)
        finally:
            await client.close()


@contextlib.contextmanager
def running(folder: Path) -> Iterator[AccountsServer]:
    """One for a whole module of tests, each of which has an event loop of its own."""
    server = AccountsServer(folder)
    try:
        asyncio.run(server.start())
        yield server
    finally:
        server.kill()
