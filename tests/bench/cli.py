"""The command line: CPU seconds of ``--help`` and the whole of ``fleet ls``, beside an empty typer program."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from tests.bench.fleet import running

RUNS = 11
EMPTY = "import typer; app = typer.Typer(); app.command()(lambda: None); app(['--help'], standalone_mode=False)"


async def main() -> None:
    print("command line (median of", RUNS, "runs)")
    base = _measure([sys.executable, "-c", EMPTY])
    _show("an empty typer program, --help", base, base)
    _show("edgeagent --help", _measure([sys.executable, "-m", "edgeagent", "--help"]), base)
    async with running(3):
        _show("edgeagent fleet ls (3 devices)", _measure([sys.executable, "-m", "edgeagent", "fleet", "ls"]), base)


def _measure(command: list[str]) -> tuple[float, float]:
    """Median CPU and wall seconds."""
    cpu, wall = [], []
    for _ in range(RUNS):
        before, begun = os.times(), time.monotonic()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        after = os.times()
        cpu.append(after.children_user + after.children_system - before.children_user - before.children_system)
        wall.append(time.monotonic() - begun)
    return statistics.median(cpu), statistics.median(wall)


def _show(what: str, figures: tuple[float, float], base: tuple[float, float]) -> None:
    print(f"  {what:<34} {figures[0]:.2f} s CPU   {figures[1]:.2f} s wall   x {figures[0] / base[0]:.1f} CPU")
