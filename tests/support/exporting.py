"""Chunks as devices store them, and what receives over HTTP: real sockets, taken away and given back."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from aiohttp import web

from edgeagent import subjects
from edgeagent.chunk import Point, Progress, encode_metrics
from edgeagent.hub import exportsettings
from edgeagent.hub.exportsettings import Exports
from edgeagent.link import Client
from edgeagent.natsserver import ports
from edgeagent.publish import published
from edgeagent.sample import Sample
from tests.support.provisioninghub import ProvisioningHub

__all__ = ["Posted", "Server", "exports", "point", "services", "store"]


def point(metric: str, value: float, time: float, unit: str = "", kind: str = "", **attributes: str) -> Point:
    """time: Unix seconds. In attributes ``__`` stands for a dot."""
    named = {key.replace("__", "."): text for key, text in attributes.items()}
    return Point("agent", Sample(metric, value, named, unit=unit, kind=kind), round(time * 1000))


async def store(hub: Client, device: str, points: Sequence[Point], progress: Progress = Progress()) -> None:  # noqa: B008  # frozen
    """As the device's forwarder stores a chunk. hub: a connection to the account HUB."""
    await published(hub, subjects.metric(device), encode_metrics(progress, [], points))


@contextlib.asynccontextmanager
async def services(place: ProvisioningHub, *streams: str) -> AsyncIterator[Client]:
    """A connection to the account HUB; at the end ``streams`` are empty and have no consumer."""
    client = await place.connect(place.owner.service_credentials("hub"))
    yield client
    js = client.jetstream()
    for stream in streams:
        await js.purge_stream(stream)
        for consumer in await js.consumers_info(stream):
            await js.delete_consumer(stream, consumer.name)
    await client.close()


def exports(**sections: Any) -> Exports:
    """Sections of hub.toml by name; those that are left out are the defaults, but nothing listens."""
    made = {"metrics": exportsettings.MetricsOptions(listen=""), **sections}
    return Exports(*(made.get(name, shape()) for name, shape in exportsettings.SECTIONS.items()))


class Posted:
    """One request that was answered with 2xx. path: with its query. said: the answer."""

    def __init__(self, path: str, headers: Any, body: bytes, said: str) -> None:
        self.path, self.headers, self.body, self.said = path, headers, body, said


class Server:
    """An HTTP server that notes what is posted and answers ``answer(number of the request)``: a status, or one with headers.

    judge: the same, where the answer depends on what is posted. text: what it says.
    """

    def __init__(
        self,
        answer: Callable[[int], int | tuple[int, dict[str, str]]] = lambda number: 204,
        judge: Callable[[int, bytes], int] | None = None,
    ) -> None:
        self.port, self.answer, self.judge = ports.pick(), answer, judge
        self.posted: list[Posted] = []
        self.asked, self.text = 0, "said"
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        found = self.judge(self.asked, body) if self.judge else self.answer(self.asked)
        self.asked += 1
        status, headers = found if isinstance(found, tuple) else (found, {})
        if status < 300:
            self.posted.append(Posted(request.path_qs, request.headers, body, self.text))
        return web.Response(status=status, headers=headers, text=self.text)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()
