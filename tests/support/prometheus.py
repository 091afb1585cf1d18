"""A real Prometheus (Debian's package), run with the configuration of deploy/, and a hub's exports in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.natsserver import ports
from tests.support.servers import until

__all__ = ["DEPLOY", "Prometheus", "needed", "running"]

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"


def needed() -> None:
    """Skip where there is none; where CI runs that is a failure (tests/conftest.py)."""
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        pytest.skip("there is no prometheus here: apt-get install --no-install-recommends prometheus")


class Prometheus:
    """exporter: the port of /metrics, scraped every second. It keeps its port and data when it is started again."""

    def __init__(self, folder: Path, exporter: int) -> None:
        self.port, self._folder = ports.pick(), folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        text = (DEPLOY / "prometheus.yml").read_text().replace("127.0.0.1:9464", f"127.0.0.1:{exporter}").replace("30s", "1s")
        (folder / "prometheus.yml").write_text(text)
        shutil.copy(DEPLOY / "edgeagent.rules.yml", folder)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def write_url(self) -> str:
        return f"{self.url}/api/v1/write"

    async def start(self) -> None:
        self._begin()
        await until(self._ready, "prometheus is ready")

    def _begin(self) -> None:
        argv = [
            "prometheus",
            f"--config.file={self._folder}/prometheus.yml",
            f"--storage.tsdb.path={self._folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-remote-write-receiver",
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "1"})

    async def _ready(self) -> bool:
        with contextlib.suppress(OSError):
            return (await asyncio.to_thread(_get, f"{self.url}/-/ready")).startswith(b"Prometheus")
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def ask(self, path: str, **arguments: object) -> Any:
        """The data of an answer of its API; errors are assertions."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        answer = json.loads(await asyncio.to_thread(_get, url))
        assert answer["status"] == "success", (arguments, answer)
        return answer["data"]

    async def now(self, query: str) -> list[Any]:
        return list((await self.ask("query", query=query))["result"])


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        return bytes(error.read())


@contextlib.asynccontextmanager
async def running(folder: Path, exporter: int = 1) -> AsyncIterator[Prometheus]:
    made = Prometheus(folder, exporter)
    try:
        await made.start()
        yield made
    finally:
        made.kill()
