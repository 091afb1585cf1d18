"""A leaf that somebody else runs (systemd) with the configuration that we write: waiting for it, and telling it to read that again."""

from __future__ import annotations

import asyncio

from edgeagent.errors import EdgeError, Refused, Unreachable
from edgeagent.natsserver import ports, process

__all__ = ["no_answer", "signal_reload", "until_it_answers"]

#: How often it is looked for while it is not there, in seconds.
LOOK_SECONDS = 0.2


async def until_it_answers(port: int, server_name: str) -> None:
    """Return when a server of this name answers at the port."""
    while True:
        if (await ports.banner(port) or {}).get("server_name") == server_name:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def no_answer(port: int, unit: str) -> EdgeError:
    """Why it does not answer, as far as can be seen from here, and which unit to look at."""
    other, url = await ports.banner(port), f"nats://{ports.HOST}:{port}"
    if other is None:
        why = f"nothing answers at {url}"
        remedy = f"start its unit: `sudo systemctl start {unit}`; `journalctl -u {unit}` tells why it ended"
    else:
        why = f"another nats-server ({other.get('server_name')}) answers at {url}"
        remedy = f"restart the leaf's unit, `sudo systemctl restart {unit}`, or set another `leaf.port` in agent.toml"
    return Unreachable("reach the leaf", why, remedy)


def signal_reload(launch: process.Launch, unit: str) -> None:
    """Send SIGHUP to the server that ``launch`` describes; raise Refused when it does not run or is not ours to signal."""
    child = process.adopt(launch)
    if child is None:
        raise Refused("reload the leaf", "it does not run, or as another user", f"`sudo systemctl reload-or-restart {unit}`")
    child.reload()
    child.release()
