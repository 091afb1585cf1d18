"""A real InfluxDB 1 (Debian's package), with a login."""

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

__all__ = ["DATABASE", "PASSWORD", "USER", "Influxd", "needed", "running"]

#: Who may write into the database, and the one who made both.
USER, PASSWORD, DATABASE = "writer", "let me write", "pis"
_OWNER, _OWNERS_PASSWORD = "owner", "let me in"


def needed() -> None:
    """Skip where there is none; where CI runs that is a failure (tests/conftest.py)."""
    if shutil.which("influxd") is None:
        pytest.skip("there is no influxd here: apt-get install --no-install-recommends influxdb")


class Influxd:
    """It keeps its port and data when it is started again."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = ports.pick(), folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        (folder / "influxdb.conf").write_text(f"""
reporting-disabled = true
bind-address = "127.0.0.1:{ports.pick()}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{self.port}"
  auth-enabled = true
""")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._begin()
        await until(self._ready, "influxd is ready")

    def _begin(self) -> None:
        with (self._folder / "log").open("ab") as log:
            argv = ["influxd", "-config", str(self._folder / "influxdb.conf")]
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "1"})

    async def _ready(self) -> bool:
        with contextlib.suppress(OSError):
            return (await asyncio.to_thread(_asked, f"{self.url}/ping"))[0] == 204
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def ask(self, query: str) -> list[dict[str, Any]]:
        """The series of an answer, their times in milliseconds; errors are assertions."""
        login = {"u": _OWNER, "p": _OWNERS_PASSWORD, "db": DATABASE, "epoch": "ms", "q": query}
        status, answer = await asyncio.to_thread(_asked, f"{self.url}/query?{urllib.parse.urlencode(login)}", b"")
        (result,) = json.loads(answer)["results"]
        assert status == 200 and "error" not in result, (query, answer)
        return list(result.get("series", []))

    async def write(self, line: str) -> None:
        """As somebody else, who writes there too."""
        login = urllib.parse.urlencode({"u": _OWNER, "p": _OWNERS_PASSWORD, "db": DATABASE, "precision": "ms"})
        status, answer = await asyncio.to_thread(_asked, f"{self.url}/write?{login}", line.encode())
        assert status == 204, answer


def _asked(url: str, body: bytes | None = None) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, body, timeout=10) as answer:
            return answer.status, bytes(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, bytes(error.read())


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Influxd]:
    """One with the database, and with the user, who may not write there yet."""
    made = Influxd(folder)
    try:
        await made.start()
        await made.ask(f"CREATE USER {_OWNER} WITH PASSWORD '{_OWNERS_PASSWORD}' WITH ALL PRIVILEGES")
        await made.ask(f"CREATE DATABASE {DATABASE}")
        await made.ask(f"CREATE USER {USER} WITH PASSWORD '{PASSWORD}'")
        yield made
    finally:
        made.kill()
