"""A device that is enrolled by the command line, below a folder of its own, while a test goes on with its hub."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from edgeagent import enrolled, settings, status
from edgeagent.enrolment import ClaimToken
from edgeagent.natsserver import ports
from edgeagent.trust import creds
from tests.support import quick
from tests.support.fleet import PATIENCE_SECONDS, Said, cli
from tests.support.trusthub import TrustHub

__all__ = ["NewDevice"]


class NewDevice:
    """agent.toml names where things are, and how often; nothing of the hub. more: lines for the end of its section [leaf]."""

    def __init__(self, folder: Path, *, reconnect_seconds: float = 10.0, more: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.state, self.settings = folder, folder / "state", folder / "agent.toml"
        self.settings.write_text(
            f"""[paths]
state = "state"
runtime = "run"
[agent]
heartbeat_seconds = 1
[hub]
renew_retry_seconds = 0.3
[leaf]
port = {ports.pick()}
reconnect_seconds = {reconnect_seconds}
{more}
"""
        )

    # ---- enrolment ----

    async def begin(self, hub: str, *words: str, token: ClaimToken | str | None = None, **env: str) -> asyncio.subprocess.Process:
        """Start ``edgeagent enroll``, its output in pipes; a token is given by standard input."""
        given = ["--token-file", "-"] if token is not None else []
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edgeagent", "enroll", "--hub", hub, "--settings", str(self.settings), *given, *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **env},
        )
        assert process.stdin
        if token is not None:
            process.stdin.write((token if isinstance(token, str) else token.format()).encode())
        process.stdin.close()
        return process

    async def enrol(self, hub: str, *words: str, token: ClaimToken | str | None = None, **env: str) -> Said:
        """The same to its end."""
        where = ("enroll", "--hub", hub, "--settings", str(self.settings))
        given = ["--token-file", "-"] if token is not None else []
        text = token.format() if isinstance(token, ClaimToken) else token or ""
        return await asyncio.to_thread(cli, *where, *given, *words, input=text, env=env)

    async def enrolled_with(self, hub: TrustHub, device_id: str = "pi-1", token_id: str = "abcdefgh2345") -> Said:
        said = await self.enrol(f"127.0.0.1:{hub.leaf_port}", "--id", device_id, token=hub.token(token_id))
        assert said.code == 0, said
        return said

    @property
    def enrolment(self) -> enrolled.Enrolment:
        found = enrolled.read(self.state)
        assert found
        return found

    @property
    def login(self) -> creds.Credentials:
        return creds.load(self.state / "device.creds")

    def keep(self, token: str) -> None:
        """Put a JWT in the place of the device's own."""
        (self.state / "device.creds").write_text(creds.Credentials(token, self.login.seed).format())

    # ---- the agent ----

    @contextlib.contextmanager
    def running(self, **env: str) -> Iterator[subprocess.Popen[bytes]]:
        """Its agent, without a word about the hub on the command line; its leaf ends with it. env: more of its environment.

        With the pauses of :mod:`tests.support.quick`.
        """
        with (self.folder / "agent.log").open("ab") as log:
            self._agent = subprocess.Popen(quick.agent(self.settings), stdout=log, stderr=log, env={**os.environ, **env})
        try:
            yield self._agent
        finally:
            self._agent.send_signal(signal.SIGTERM)
            self._agent.wait(PATIENCE_SECONDS)

    def status(self) -> status.Status | None:
        """What the agent that runs now last wrote, None until then."""
        with contextlib.suppress(Exception):
            found = status.read(settings.load(self.settings).status_file)
            return found if found.pid == self._agent.pid else None
        return None

    @property
    def is_linked(self) -> bool:
        found = self.status()
        return found is not None and found.link.up

    @property
    def problems(self) -> str:
        found = self.status()
        return " / ".join(problem.what for problem in found.problems) if found else ""

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text()


async def ended(process: asyncio.subprocess.Process) -> Said:
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    return Said(process.returncode or 0, out.decode(), err.decode())


async def lines(process: asyncio.subprocess.Process) -> AsyncIterator[str]:
    """What it says on standard error, line by line."""
    assert process.stderr
    while line := await asyncio.wait_for(process.stderr.readline(), PATIENCE_SECONDS):
        yield line.decode().rstrip()
