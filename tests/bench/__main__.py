"""``make bench``: every figure that the README quotes, each beside what it is compared to. ``make bench ONLY=memory`` runs one.

The machine is noisy: read medians and ratios, not single figures.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import platform
import sys

PARTS = (
    "cli",
    "memory",
    "idle",
    "query",
    "config",
    "commands",
    "restarts",
    "trust",
    "budget",
    "drain",
    "metricchaos",
    "export",
    "sampling",
    "mcus",
    "firmware",
    "chaos",
    "scale",
)


def main() -> None:
    wanted = sys.argv[1:] or os.environ.get("ONLY", "").split() or list(PARTS)
    unknown = set(wanted) - set(PARTS)
    if unknown:
        sys.exit(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(PARTS)}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    for name in wanted:
        asyncio.run(importlib.import_module(f"tests.bench.{name}").main())
        print()


main()
