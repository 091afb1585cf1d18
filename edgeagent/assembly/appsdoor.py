"""The running agent's side of ``edgeagent app`` and ``edgeagent mcu``: told that logins changed, it tells the leaf."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from edgeagent import services
from edgeagent.errors import EdgeError
from edgeagent.leaf.apps import CLI_INBOX
from edgeagent.leaf.leaf import Leaf
from edgeagent.link import Client

__all__ = ["RELOAD", "obey"]

log = logging.getLogger("edgeagent")

#: In the agent's own account, where no program is.
RELOAD = "local.agent.reload"


async def obey(client: Client, leaf: Leaf, on_changed: Callable[[], Awaitable[None]]) -> None:
    """Listen from now on, until the connection is closed. on_changed: called when the leaf knows them."""

    async def asked(message: Any) -> None:
        answered = False

        async def answer(payload: bytes) -> None:
            nonlocal answered
            if not answered and message.reply.startswith(f"{CLI_INBOX}."):
                await client.publish(message.reply, payload)
                await client.flush()  # a restart of the leaf ends this connection
            answered = True

        try:
            await leaf.apply(before_restart=lambda: answer(services.answer()))
            await on_changed()
            await answer(services.answer())
        except EdgeError as error:
            log.warning("%s", error)
            await answer(services.refusal(error))

    await client.subscribe(RELOAD, cb=asked)
