"""Memory of agent and leaf, beside a bare Python with nats-py and a bare nats-server.

RSS counts shared pages in every process; PSS divides them among those that share. On a Pi one agent runs, so RSS is what counts.
"""

from __future__ import annotations

import asyncio
import compileall
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import edgeagent
from edgeagent.fleet import Fleet
from edgeagent.natsserver import binary
from tests.bench.fleet import pid_of, running

AGENT_MODULES = """import sys
from edgeagent.assembly import lean
lean.load_libraries()
import edgeagent.assembly.deviceloop
print(flush=True)
sys.stdin.read()"""
#: As on a device, which has no aiohttp.
BARE_PYTHON = (
    "import sys; sys.modules['aiohttp'] = None; import asyncio, nats, psutil, sqlite3; print(flush=True); sys.stdin.read()"
)

#: How long the agents have had nothing to do: longer than they take to give back what starting needed.
IDLE_SECONDS = 60.0


async def main() -> None:
    # As pip does on a device. Where PYTHONDONTWRITEBYTECODE is set, an agent compiles itself at each start, and 1 MiB of that stays.
    compileall.compile_dir(Path(edgeagent.__file__).parent, quiet=1)
    print("memory (MiB)                                       RSS    PSS")
    python = _bare([sys.executable, "-c", BARE_PYTHON])
    _show("python + asyncio + nats-py + psutil + sqlite3", python, None)
    _show("the same, with all of the agent's modules", _bare([sys.executable, "-c", AGENT_MODULES]), python)
    async with running(3) as fleet:
        agent = pid_of(fleet, "pi-01", "agent")
        await asyncio.sleep(IDLE_SECONDS)
        _show("agent, idle", _memory(agent), python)
        async with Fleet() as operator:
            for _ in range(20):
                await operator.query("memory.utilization > 0.0", select=["model", "uptime_seconds"])
        _show("agent, after 20 queries with CEL", _memory(agent), python)
        for worker in set(_children(agent)) - {pid_of(fleet, "pi-01", "leaf")}:
            _show("its CEL worker (ends when idle)", _memory(worker), python)
        async with bare_server() as pid:
            server = _memory(pid)
        _show("bare nats-server with JetStream", server, None)
        _show("leaf", _memory(pid_of(fleet, "pi-01", "leaf")), server)


def _memory(pid: int) -> tuple[float, float]:
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size = line.split(":")
        sizes[name] = int(size.split()[0]) / 1024
    return sizes["Rss"], sizes["Pss"]


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _bare(command: list[str]) -> tuple[float, float]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdin
        process.stdout.readline()
        found = _memory(process.pid)
        process.stdin.close()
    return found


@contextlib.asynccontextmanager
async def bare_server() -> AsyncIterator[int]:
    """The pid of a nats-server with an empty JetStream store and no configuration."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(binary.find().path), "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", folder]
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        assert process.stderr
        while b"Server is ready" not in await process.stderr.readline():
            pass
        try:
            yield process.pid
        finally:
            process.terminate()
            await process.communicate()


def _show(what: str, figures: tuple[float, float], base: tuple[float, float] | None) -> None:
    ratio = f"   x {figures[0] / base[0]:.2f} RSS" if base else ""
    print(f"  {what:<46} {figures[0]:6.1f} {figures[1]:6.1f}{ratio}")
