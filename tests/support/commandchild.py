"""``python -m tests.support.commandchild FOLDER URL CREDENTIALS [before|after N]``: a device that is killed around its N-th commit.

It writes what each commit changed into FOLDER/commits, and runs until it is killed or ended. N counts from 1.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

from edgeagent.link import connect
from edgeagent.trust import creds
from tests.support.commanding import CommandDevice

FOLDER, URL, CREDENTIALS = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
WHEN, NUMBER = (sys.argv[4], int(sys.argv[5])) if len(sys.argv) > 4 else ("", 0)
#: What notes that a scope has no log, and the last step of forgetting; they come at any time, and have no part in the life of a command.
BESIDE = ("INSERT OR IGNORE INTO logs", "DELETE FROM commands")


class Killed(sqlite3.Connection):
    """Kills the process around a commit."""

    changed = ""
    commits = 0

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        counts = statement == "COMMIT" and not self.changed.startswith(BESIDE)
        if counts:
            self.commits += 1
            with (FOLDER / "commits").open("a") as out:
                out.write(f"{self.changed}\n")
            self._maybe("before")
        elif statement.startswith("BEGIN"):
            self.changed = ""
        elif statement.split()[0] in ("INSERT", "UPDATE", "DELETE"):
            self.changed = statement
        done = super().execute(statement, *values)
        if counts:
            self._maybe("after")
        return done

    def executemany(self, statement: str, *values: Any) -> sqlite3.Cursor:
        self.changed = statement
        return super().executemany(statement, *values)

    def _maybe(self, when: str) -> None:
        if (when, self.commits) == (WHEN, NUMBER):
            os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    plain = sqlite3.connect
    sqlite3.connect = lambda *args, **options: plain(*args, factory=Killed, **options)  # type: ignore[assignment]
    login = creds.callbacks(creds.load(CREDENTIALS))
    client = await connect(URL, what="reach the hub", name="child", inbox_prefix="edge.to.device.pi-1.in", jwt=login)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with CommandDevice(client, FOLDER, site="berlin").running():
        await stop.wait()
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
