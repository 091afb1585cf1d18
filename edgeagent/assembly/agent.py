"""``python -m edgeagent.assembly.agent [SETTINGS]``: what ``edgeagent run`` becomes. The process never loads the command line.

Without SETTINGS those at the default place count, if there are any.
"""

from __future__ import annotations

from edgeagent.assembly import lean

__all__ = ["main"]


def main() -> None:
    lean.load_libraries()
    from edgeagent.assembly.deviceloop import main as run

    run()


if __name__ == "__main__":
    main()
