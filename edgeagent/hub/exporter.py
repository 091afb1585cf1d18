"""``/metrics`` over HTTP, for Prometheus. Loaded only where prometheus_client and aiohttp are."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Metric, generate_latest

__all__ = ["CONTENT_TYPE", "Exporter", "rendered"]

log = logging.getLogger("edgeagent.hub")

#: Prometheus' text format; every version of Prometheus takes it, and it has no rules about names that devices could break.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: How often a port that is taken is tried again, in seconds: the other instance may end.
RETRY_SECONDS = 15.0
#: How long the end waits for an answer that is being read, in seconds.
CLOSE_SECONDS = 1.0

Families = Callable[[], Iterable[Metric]]


class _Collector:
    """prometheus_client asks it."""

    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families()

    def describe(self) -> list[Metric]:
        return []


def rendered(families: Families) -> bytes:
    """What is answered."""
    registry = CollectorRegistry()
    registry.register(_Collector(families))
    return bytes(generate_latest(registry))


class Exporter:
    """families: called in another thread for every scrape; must not need the hub. address: host and port."""

    def __init__(self, address: tuple[str, int], families: Families) -> None:
        self._address, self._families = address, families
        self._one = asyncio.Lock()

    async def run(self) -> None:
        """Answer for ever. A port that is taken is said once, and tried again."""
        runner = await self._ready()
        try:
            said = ""
            while (problem := await self._listening(runner)) is not None:
                if problem != said:
                    log.warning("cannot offer /metrics at %s port %s: %s; see [metrics] in hub.toml", *self._address, problem)
                said = problem
                await asyncio.sleep(RETRY_SECONDS)
            log.info("metrics for Prometheus at http://%s:%s/metrics", *self._shown())
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _ready(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=CLOSE_SECONDS)
        await runner.setup()
        return runner

    async def _listening(self, runner: web.AppRunner) -> str | None:
        """None when it listens, else why it does not."""
        site = web.TCPSite(runner, *self._address)
        try:
            await site.start()
        except OSError as error:
            await site.stop()
            return os.strerror(error.errno) if error.errno else type(error).__name__  # aiohttp's own text names the address again
        return None

    def _shown(self) -> tuple[str, int]:
        host, port = self._address
        return (f"[{host}]" if ":" in host else host), port

    async def _answer(self, request: Any) -> web.Response:
        async with self._one:  # many who ask at once cost no more than one
            text = await asyncio.to_thread(rendered, self._families)
        response = web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})
        response.enable_compression()
        return response
