"""Memory that is free goes back to the kernel. In a process of its own: its memory is what counts."""

from __future__ import annotations

import subprocess
import sys

from edgeagent.assembly import freememory

SCRIPT = f"""
import asyncio
from pathlib import Path
import {freememory.__name__} as freememory
freememory.STARTED_SECONDS = 0

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) >> 10

async def main():
    held = [bytes(8000) for _ in range(8000)]
    held = held[::50]
    before = resident()
    giving = asyncio.create_task(freememory.keep_giving_back())
    while resident() > before - 30:
        await asyncio.sleep(0.01)
    giving.cancel()
    print(len(held))
asyncio.run(main())
"""


def test_free_memory_between_pieces_in_use_goes_back_to_the_kernel() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60)
    assert done.stdout == "160\n", done.stderr
