"""What the shell is offered for a word that is being typed. A hub that does not answer at once is not waited for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.roster import Roster

__all__ = ["asked", "assignments", "begun", "boards", "contexts", "devices", "groups", "keys", "ports", "programs"]

T = TypeVar("T")

#: The longest that a person who pressed Tab waits for the hub, in seconds.
PATIENCE_SECONDS = 0.5


def contexts(incomplete: str) -> list[str]:
    """Names of contexts."""
    from edgeagent import context

    return begun(context.names(), incomplete)


def keys(incomplete: str) -> list[tuple[str, str]]:
    """The keys of `edgeagent config`, each with what it is for; those that hold a table of your own names end with a dot."""
    from edgeagent.config import KEYS

    names = {f"{key.name}{'.' * isinstance(key.default, dict)}": key.description for key in KEYS.values()}
    return [(name, names[name]) for name in begun(names, incomplete)]


def assignments(incomplete: str) -> list[tuple[str, str]]:
    """The same as the beginning of KEY=VALUE."""
    return [(name if name.endswith(".") else f"{name}=", about) for name, about in keys(incomplete)]


def devices(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of devices that the hub knows; none when it does not answer at once."""
    roster = _roster(context)
    return begun(roster.devices if roster else (), incomplete)


def groups(context: typer.Context, incomplete: str) -> list[str]:
    """Groups that devices are in; none when the hub does not answer at once."""
    roster = _roster(context)
    found = {group for known in roster.devices.values() for group in known.groups} if roster else set()
    return begun(found, incomplete)


def programs(incomplete: str) -> list[str]:
    """Programs with a login on this device, as far as this user may know, and the one in the environment."""
    import contextlib
    import os

    from edgeagent import settings
    from edgeagent.errors import EdgeError

    names = {os.environ.get("EDGEAGENT_APP", "")} - {""}
    with contextlib.suppress(EdgeError, OSError):
        from edgeagent.assembly.apps import listed

        names |= {app.name for app in listed(settings.load(None))}
    return begun(names, incomplete)


def ports(incomplete: str) -> list[str]:
    """Serial ports of this machine, and links to them that say in which socket they are."""
    from pathlib import Path

    from serial.tools import list_ports

    links = [str(path) for path in Path("/dev/serial/by-path").glob("*")]
    return begun([*(each.device for each in list_ports.comports()), *links], incomplete)


def boards(incomplete: str) -> list[str]:
    """Ports of boards with MicroPython."""
    from edgeagent.firmware import boards

    return begun((each.port for each in boards.found()), incomplete)


def begun(words: Iterable[str], incomplete: str) -> list[str]:
    """Those of ``words`` that begin so."""
    return sorted(word for word in words if word.startswith(incomplete))


def _roster(context: typer.Context) -> Roster | None:
    async def read(fleet: Fleet) -> Roster:
        return await fleet.roster()

    return asked(context, read)


def asked(context: typer.Context, read: Callable[[Fleet], Awaitable[T]]) -> T | None:
    """What ``read`` finds on the hub; None when that does not answer at once.

    context: of the command; the hub is the one that is named on its line so far.
    """
    import asyncio

    from edgeagent.errors import EdgeError
    from edgeagent.fleet import Fleet

    async def connected() -> T:
        async with Fleet(context.params.get("context")) as fleet:
            return await read(fleet)

    async def in_time() -> T:
        return await asyncio.wait_for(connected(), PATIENCE_SECONDS)

    try:
        return asyncio.run(in_time())
    except (EdgeError, asyncio.TimeoutError):
        return None
