"""``/metrics`` over HTTP, for Prometheus, and ``/healthz``, for whoever wants to know in a word. Loaded only where prometheus_client and
aiohttp are."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from aiohttp import web
from prometheus_client import Metric, generate_latest
from prometheus_client.samples import Sample

__all__ = ["CONTENT_TYPE", "Exporter", "rendered"]

log = logging.getLogger("edgeagent.hub")

#: Prometheus' text format; every version of Prometheus takes it, and it has no rules about names that devices could break.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: How often a port that is taken is tried again, in seconds: the other instance may end.
RETRY_SECONDS = 15.0
#: How long the end waits for an answer that is being read, in seconds.
CLOSE_SECONDS = 1.0
#: How long an answer is good for others who ask, in seconds.
FRESH_SECONDS = 1.0
#: Of gzip: more costs much time and saves little of this text.
_LEVEL = 1

Families = Callable[[], Iterable[Metric]]
#: What ``/healthz`` answers: HTTP status and JSON; told whether all details may be seen.
Health = Callable[[bool], tuple[int, dict[str, Any]]]
#: What a proxy adds: who asks is not who is connected.
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


class _One:
    """prometheus_client asks it: for one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


def rendered(families: Families) -> bytes:
    """What is answered. A family that cannot be written costs only what is wrong in it."""
    return b"".join(_written(family) for family in families())


def _written(family: Metric) -> bytes:
    """Of a family that cannot be written as a whole the samples that can."""
    try:
        return bytes(generate_latest(_One(family)))
    except Exception as error:  # a number or a text that nobody thought of, and all others are to be seen
        log.debug("%s cannot be shown as a whole: %r", family.name, error)
        good = Metric(family.name, family.documentation, family.type)
        good.samples = [sample for sample in family.samples if _is_good(family, sample)]
        return bytes(generate_latest(_One(good)))


def _is_good(family: Metric, sample: Sample) -> bool:
    alone = Metric(family.name, family.documentation, family.type)
    alone.samples = [sample]
    try:
        generate_latest(_One(alone))
    except Exception:  # see above
        return False
    return True


class _Page(NamedTuple):
    """made: by the monotonic clock, in seconds. packed: the text, by gzip."""

    made: float
    text: bytes
    packed: bytes


class Exporter:
    """families: called in another thread for a scrape; must not need the hub; None: ``/metrics`` is not ready. address: host and port.

    health: for ``/healthz``; must cost nothing. None: there is none.
    """

    def __init__(self, address: tuple[str, int], families: Families | None, health: Health | None = None) -> None:
        self._address, self.families, self._health = address, families, health
        self._one = asyncio.Lock()
        self._page = _Page(-FRESH_SECONDS, b"", b"")

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
        app.router.add_get("/healthz", self._healthy)
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

    async def _healthy(self, request: Any) -> web.Response:
        if self._health is None:
            raise web.HTTPNotFound
        status, said = self._health("verbose" in request.query and _is_here(request))
        text = json.dumps(said, indent=2) + "\n"
        return web.Response(status=status, text=text, content_type="application/json", headers={"Cache-Control": "no-store"})

    async def _answer(self, request: Any) -> web.Response:
        if self.families is None:
            return web.Response(status=503, text="what devices measure is still being read\n")
        async with self._one:  # many who ask at once cost no more than one, and all are sent the same bytes
            if self._page.made + FRESH_SECONDS <= time.monotonic():
                self._page = await asyncio.to_thread(self._made)
        headers = {"Content-Type": CONTENT_TYPE, "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("Accept-Encoding", "").lower():
            return web.Response(body=self._page.packed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=self._page.text, headers=headers)

    def _made(self) -> _Page:
        made, text = time.monotonic(), rendered(self.families or tuple)
        return _Page(made, text, gzip.compress(text, _LEVEL))


def _is_here(request: Any) -> bool:
    """Whether somebody on this machine asks, and not through a proxy."""
    try:
        return ipaddress.ip_address(request.remote or "").is_loopback and not any(name in request.headers for name in _FORWARDED)
    except ValueError:
        return False
