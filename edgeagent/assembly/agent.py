"""``python -m edgeagent.assembly.agent [SETTINGS]``: what ``edgeagent run`` becomes. The process never loads the command line.

Without SETTINGS those at the default place count, if there are any.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    # nats-py loads aiohttp where it is installed, for websockets, which are the leaf's business here. On a Pi 10 MB are much.
    sys.modules["aiohttp"] = None  # type: ignore[assignment]  # Python's own way to say that there is no such module
    from edgeagent.assembly.deviceloop import main as run

    run()


if __name__ == "__main__":
    main()
