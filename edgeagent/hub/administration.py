"""The service that administrators' programs ask: ``edge.admin.<user>.<what>`` in the account HUB.

Only the role admin may publish there, each person under the own name, so the subject proves who asks. What there is to ask for is
given by whoever starts it: handlers by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import nats.errors

from edgeagent import services, subjects
from edgeagent.direct import in_our_words
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.link import Client

__all__ = ["Administration", "Handler"]

log = logging.getLogger("edgeagent.hub")

#: Called with the user who asks and the request's body; what it raises of EdgeError is the answer too.
Handler = Callable[[str, bytes], Awaitable["msgspec.Struct | None"]]

#: Instances of the hub's services share the requests.
QUEUE = "edgeagent-admin"
#: Requests at once; more of them wait. An order about many devices takes seconds.
AT_ONCE = 16
#: How long those that are worked on may take when the services end, in seconds.
CLOSE_SECONDS = 5.0
#: And how long nats-server may take to hear that no more are wanted, in seconds.
DRAIN_SECONDS = 1.0


class Administration:
    """Answers within ``async with``. hub: a connection to the account HUB. handlers: by the last token of the subject."""

    def __init__(self, hub: Client, handlers: Mapping[str, Handler]) -> None:
        self._hub, self._handlers = hub, dict(handlers)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._work: set[asyncio.Task[None]] = set()
        self._subscription: Any = None

    async def __aenter__(self) -> Administration:
        with in_our_words("answer administrators"):
            self._subscription = await self._hub.subscribe(subjects.admin("*", "*"), queue=QUEUE, cb=self._heard)
        return self

    async def __aexit__(self, *_: object) -> None:
        # What the server has sent already is taken: else whoever asked would have to ask again, after seconds.
        with contextlib.suppress(nats.errors.Error, asyncio.TimeoutError):  # closing: the connection may be gone already
            await asyncio.wait_for(self._subscription.drain(), DRAIN_SECONDS)
        if self._work:  # whoever asked would wait for an answer that never comes, and another instance does not know of it
            await asyncio.wait(self._work, timeout=CLOSE_SECONDS)
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    async def _heard(self, message: Any) -> None:
        # A task each: an order that waits for nats-server's answer must not hold up the others.
        task = asyncio.create_task(self._answer(message), name=f"answer {message.subject}")
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _answer(self, message: Any) -> None:
        async with self._places:
            _, _, user, what = message.subject.split(".")
            said = await self._said(user, what, message.data)
            with contextlib.suppress(nats.errors.Error):  # nobody waits for it, or we are closing
                await message.respond(said)

    async def _said(self, user: str, what: str, body: bytes) -> bytes:
        try:
            return services.answer(await self._handler(what)(user, body))
        except EdgeError as error:
            log.info("%s asked for %s: %s", user, what, error)
            return services.refusal(error)
        except Exception:
            log.exception("%s asked for %s", user, what)
            return services.refusal(Failed(f"do {what}", "an error in edgeagent itself", "the hub's log shows more"))

    def _handler(self, what: str) -> Handler:
        if what not in self._handlers:
            known = ", ".join(sorted(self._handlers))
            raise Refused(
                f"do {what!r}", f"this hub knows no such order (it knows {known})", "is its edgeagent older than yours?"
            )
        return self._handlers[what]
