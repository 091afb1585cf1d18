"""Microcontrollers of this device, asked through its running agent: for who may read the agent's login, root and the agent's user."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
import nats.errors

from edgeagent import services, wire
from edgeagent.assembly.logins import leaf_url
from edgeagent.assembly.mcudoor import FOLLOW_SECONDS, LOGS, SEND, Answered, Line, Lines, Order, Wanted, live
from edgeagent.errors import Unreachable
from edgeagent.leaf.apps import CLI_INBOX
from edgeagent.leaf.conf import AGENT_USER
from edgeagent.leaf.secrets import load
from edgeagent.link import Client, connect, request, settle
from edgeagent.settings import Settings

__all__ = ["follow", "logs", "orders", "send"]

T = TypeVar("T")

#: How long the agent itself may take, in seconds.
AGENT_SECONDS = 5.0
_REMEDY = "`edgeagent status` says how the agent is; it has to run"


async def send(settings: Settings, mcu_id: str, action: str, args: Mapping[str, Any], *, seconds: float) -> Any:
    """Have it done, and return what it answers. seconds: how long that may take. Raises as :meth:`Mcus.command
    <edgeagent.patterns.mcus.Mcus.command>`, and Unreachable where no agent answers."""
    async with orders(settings, mcu_id, f"have {mcu_id} do {action}") as order:
        return await order(action, args, seconds)


@contextlib.asynccontextmanager
async def orders(
    settings: Settings, mcu_id: str, what: str
) -> AsyncIterator[Callable[[str, Mapping[str, Any], float], Awaitable[Any]]]:
    """Does as :func:`send` does, again and again over one connection: (action, args, seconds) -> what it answers. what: it is for."""
    async with _connected(settings, what) as client:

        async def order(action: str, args: Mapping[str, Any], seconds: float) -> Any:
            body = Order(mcu=mcu_id, action=action, args=dict(args), seconds=seconds)
            what = f"have {mcu_id} do {action}"
            return (await _asked(client, SEND, body, Answered, what, seconds + AGENT_SECONDS)).value

        yield order


async def logs(settings: Settings, mcu_id: str) -> list[Line]:
    """The newest lines that it printed, the oldest first."""
    what = f"read the log of {mcu_id}"
    async with _connected(settings, what) as client:
        return (await _asked(client, LOGS, Wanted(mcu=mcu_id), Lines, what, AGENT_SECONDS)).lines


async def follow(settings: Settings, mcu_id: str, count: int) -> AsyncGenerator[Line, None]:
    """The newest ``count`` lines, and then those that it prints, until the agent ends: that raises Unreachable."""
    what = f"follow the log of {mcu_id}"
    async with _connected(settings, what) as client:
        lines = await client.subscribe(live(mcu_id))
        await settle(client, what=what)
        wanted = Wanted(mcu=mcu_id, follow=True)
        shown, asked = 0.0, time.monotonic()
        for line in (await _asked(client, LOGS, wanted, Lines, what, AGENT_SECONDS)).lines[-count:]:
            shown = line.time
            yield line
        while True:
            if time.monotonic() - asked >= FOLLOW_SECONDS / 3:
                asked = time.monotonic()
                await _asked(client, LOGS, wanted, Lines, what, AGENT_SECONDS)
            line_now = await _next(lines, what)
            if line_now and line_now.time > shown:
                yield line_now


async def _next(lines: Any, what: str) -> Line | None:
    """The next line; None when there was none for a while."""
    try:
        message = await lines.next_msg(timeout=FOLLOW_SECONDS / 3)
    except (nats.errors.TimeoutError, asyncio.TimeoutError):
        return None
    except nats.errors.Error as error:
        raise Unreachable(what, str(error).removeprefix("nats: "), _REMEDY) from None
    return wire.decode(message.data, Line)


async def _asked(client: Client, subject: str, body: msgspec.Struct, shape: type[T], what: str, seconds: float) -> T:
    try:
        answer = await request(client, subject, wire.encode(body), what=what, timeout=seconds)
    except Unreachable as error:
        raise Unreachable(what, f"the agent does not answer ({error.why})", _REMEDY) from None
    return services.result(answer.data, shape)


@contextlib.asynccontextmanager
async def _connected(settings: Settings, what: str) -> AsyncIterator[Client]:
    login = load(settings.state_folder / "secrets.json")
    if login is None:
        raise Unreachable(what, f"there is no agent in {settings.state_folder}: it has not run here", "start it: `edgeagent run`")
    try:
        client = await connect(
            leaf_url(settings),
            what=what,
            name="edgeagent mcu",
            inbox_prefix=f"{CLI_INBOX}.{os.getpid()}",
            password=(AGENT_USER, login.agent),
            reconnect=False,
        )
    except Unreachable as error:
        raise Unreachable(what, error.why, _REMEDY) from None
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
            await client.close()
