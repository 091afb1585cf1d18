"""What is looked at before an agent begins: whether another one runs, whether its card was moved, and its groups."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from edgeagent import files
from edgeagent.errors import Failed, UsageProblem
from edgeagent.identity import Identity
from edgeagent.patterns.events import Events
from edgeagent.trust import creds

__all__ = ["groups_now", "lock", "warn_of_a_moved_card"]

log = logging.getLogger("edgeagent")


def lock(state: Path) -> files.Lock:
    """One agent at a time for a state folder, however its runtime folder is called. Nobody else may hold it: both are closed to them."""
    path = state / "agent.lock"
    with contextlib.suppress(OSError):  # the lock itself says what is wrong
        path.touch(0o600)
    return files.Lock(path, "run the agent")


def groups_now(path: Path, device_id: str, before: tuple[str, ...]) -> tuple[str, ...]:
    """The device's groups: the hub's decision, which stands in the credentials at ``path``. before: what they were, which counts while there
    are none, or damaged ones. Raises UsageProblem for those of another device."""
    if not path.exists():
        return before
    try:
        login = creds.peek(path)
    except Failed as error:  # local programs need the leaf all the same, and the renewal credentials may mend it
        log.error("%s", error)
        return before
    if login.name != device_id:
        raise UsageProblem(
            f"be {device_id}",
            f"the credentials in {path} are those of {login.name!r}",
            f"set `device.id` to {login.name!r} in agent.toml, or put this device's own credentials there",
        )
    return login.groups


def warn_of_a_moved_card(identity: Identity, events: Events) -> None:
    """Say so when this installation was made on another board."""
    before = identity.installation.moved_from
    if before is not None:
        text = (
            f"this installation was made on another board ({before}): if its card was copied rather than moved, the copy needs an id "
            "and credentials of its own"
        )
        events.tell("warning", "device.moved_card", text)
