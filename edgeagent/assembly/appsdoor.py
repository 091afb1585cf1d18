"""The running agent's side of ``edgeagent app``: told that the logins of local programs changed, it tells the leaf."""

from __future__ import annotations

from typing import Any

from edgeagent import services
from edgeagent.errors import EdgeError
from edgeagent.leaf.apps import CLI_INBOX
from edgeagent.leaf.leaf import Leaf
from edgeagent.link import Client

__all__ = ["RELOAD", "obey"]

#: In the agent's own account, where no program is.
RELOAD = "local.agent.reload"


async def obey(client: Client, leaf: Leaf) -> None:
    """Listen from now on, until the connection is closed."""

    async def asked(message: Any) -> None:
        try:
            await leaf.apply()
            answer = services.answer()
        except EdgeError as error:
            answer = services.refusal(error)
        if message.reply.startswith(f"{CLI_INBOX}."):
            await client.publish(message.reply, answer)

    await client.subscribe(RELOAD, cb=asked)
