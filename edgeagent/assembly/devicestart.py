"""What is looked at before an agent begins: whether another one runs, and whether its card was moved."""

from __future__ import annotations

import contextlib
from pathlib import Path

from edgeagent import files
from edgeagent.identity import Identity
from edgeagent.patterns.events import Events

__all__ = ["lock", "warn_of_a_moved_card"]


def lock(state: Path) -> files.Lock:
    """One agent at a time for a state folder, however its runtime folder is called. Nobody else may hold it: both are closed to them."""
    path = state / "agent.lock"
    with contextlib.suppress(OSError):  # the lock itself says what is wrong
        path.touch(0o600)
    return files.Lock(path, "run the agent")


def warn_of_a_moved_card(identity: Identity, events: Events) -> None:
    """Say so when this installation was made on another board."""
    before = identity.installation.moved_from
    if before is not None:
        text = (
            f"this installation was made on another board ({before}): if its card was copied rather than moved, the copy needs an id "
            "and credentials of its own"
        )
        events.tell("warning", "device.moved_card", text)
