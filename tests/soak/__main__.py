"""``python -m tests.soak SCENARIO``: hours of trouble for a hub and its devices, on this machine. The exit code says whether all was well."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from edgeagent import files
from tests.soak.cluster import cluster
from tests.soak.move import move
from tests.soak.report import calls, report
from tests.soak.restored import restored
from tests.soak.run import LIMIT_SECONDS, Plan
from tests.support.home import own_home
from tests.support.servers import kill_leftovers

SCENARIOS = {"cluster": cluster, "move": move, "restored": restored}


def main() -> None:
    given = _arguments()
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begun:7.1f} s  {text}", flush=True)

    plan = Plan(
        seed=given.seed,
        devices=given.devices,
        servers=given.servers,
        seconds=given.seconds,
        kills=given.kills,
        limit=given.limit,
        say=say,
    )
    folder = Path(tempfile.mkdtemp(prefix="edgeagent-soak-"))
    say(f"{given.scenario} in {folder}, seed {given.seed}")
    try:
        with own_home(folder / "home"):
            del os.environ["EDGEAGENT_QUERY_TIMEOUT"]  # people wait here for as long as they would elsewhere
            ended = asyncio.run(SCENARIOS[given.scenario](folder, plan))
    finally:
        kill_leftovers(folder)
    files.write_atomic(folder / "calls.ndjson", calls(ended, begun).encode())
    print(f"\n{report(ended)}\n")
    if ended.wrong:
        print("\n".join(["wrong:", *ended.wrong]), f"\nthe files of all are still in {folder}")
        sys.exit(1)
    print("nothing lost, nothing twice, and nobody waited too long")
    if not given.keep:
        shutil.rmtree(folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("scenario", choices=list(SCENARIOS), help="what happens")
    parser.add_argument("--devices", type=int, default=20, help="real devices, 55 MB each (%(default)s)")
    parser.add_argument("--servers", type=int, default=3, help="of the hub of `cluster`, which may be 1 (%(default)s)")
    parser.add_argument("--seconds", type=float, default=300, help="how long servers are killed (%(default)s)")
    parser.add_argument("--kills", type=int, default=3, help="in each round, before the rolling restart (%(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="draws the same once more")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="for a call, in seconds (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the files of a run in which all was well")
    return parser.parse_args()


if __name__ == "__main__":
    main()
