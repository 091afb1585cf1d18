"""``python -m edgeagent.assembly.agent [SETTINGS]``: what ``edgeagent run`` becomes. The process never loads the command line.

Without SETTINGS those at the default place count, if there are any.
"""

from __future__ import annotations

from edgeagent.trust import websockets

__all__ = ["main"]


def main() -> None:
    websockets.put_off()  # they are the leaf's business here, and on a Pi 10 MB are much
    from edgeagent.assembly.deviceloop import main as run

    run()


if __name__ == "__main__":
    main()
