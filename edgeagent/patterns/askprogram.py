"""Asking a program on the device for something, over its leaf."""

from __future__ import annotations

import asyncio
import contextlib
import secrets

import nats.errors

from edgeagent.errors import Closed, Failed, Unreachable
from edgeagent.leaf.apps import AGENT_INBOX
from edgeagent.link import Client

__all__ = ["NobodyThere", "ask_program"]


class NobodyThere(Unreachable):
    """No program listens there: it was not asked."""


async def ask_program(client: Client, subject: str, body: bytes, seconds: float) -> bytes:
    """The answer.

    client: the agent's, in the account of the programs. seconds: how long to wait. Raises NobodyThere when nobody listens, Unreachable when nobody answers, Closed when the leaf is gone.
    """
    what, inbox = f"ask {subject}", f"{AGENT_INBOX}.{secrets.token_hex(12)}"
    try:
        answers = await client.subscribe(inbox)
        try:
            await client.publish(subject, body, reply=inbox)
            message = await answers.next_msg(timeout=seconds)
        finally:
            with contextlib.suppress(nats.errors.Error, OSError):  # the connection may be gone, and the subscription with it
                await answers.unsubscribe()
    except (nats.errors.TimeoutError, asyncio.TimeoutError):
        raise Unreachable(what, f"no answer within {seconds:g} s") from None
    except nats.errors.ConnectionClosedError:
        raise Closed(what, "the connection is closed") from None
    except nats.errors.Error as error:
        raise Failed(what, str(error)) from None
    if (message.headers or {}).get("Status") == "503":  # nats-server's word that nobody listens
        raise NobodyThere(what, "nobody answers there, or it is not allowed")
    return bytes(message.data)
