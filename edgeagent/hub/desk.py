"""One service's way of answering: so many requests at once, each with an envelope, and nothing that only the log should say.

Who asks too much, or says too much at once, is not answered at all: an answer to each would be what he wants. It is decided before
anything is awaited, so that nobody can fill the queue for others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import msgspec

from edgeagent import services, subjects
from edgeagent.errors import EdgeError, Failed, Refused, UsageProblem
from edgeagent.ratelimit import RateLimits
from edgeagent.trust.nkeys import is_public

__all__ = ["AT_ONCE", "MAX_BYTES", "PENDING_BYTES", "PENDING_MESSAGES", "Desk", "Flooded", "read"]

log = logging.getLogger("edgeagent.hub")

#: How many requests are worked on at once; the others wait their turn in the client, which keeps so many of them: what
#: it reads at once of one that floods must leave room for others.
AT_ONCE = 16
PENDING_MESSAGES, PENDING_BYTES = 5000, 4 << 20
#: What the roles of claim tokens and renewals may send at once, too.
MAX_BYTES = 8 << 10
#: How often to tell of one that floods, in seconds, and how many of them are told of at most in that time.
FLOOD_SECONDS, FLOODERS = 60.0, 20
#: Dropped in a row before somebody is called a flooder: an ordinary device that tries again is not.
FLOOD_MESSAGES = 100

#: What to do for whom (the third token of the subject) with which body.
Work = Callable[[str, bytes], Awaitable[msgspec.Struct]]
#: Told who goes on asking although nobody answers him, at most once a second each.
Flooded = Callable[[str], None]


class _Asked(Protocol):
    key: str


Asked = TypeVar("Asked", bound=_Asked)


def read(data: bytes, shape: type[Asked], what: str, called: str) -> Asked:
    """The body of what a device asks for a user's key of its own. what: as for :class:`EdgeError`. called: the body, for people.

    Raises Refused with the reason.
    """
    if len(data) > MAX_BYTES:
        raise Refused(what, f"the {called} is longer than {MAX_BYTES} bytes")
    try:
        asked = msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(what, f"the hub cannot read the {called}", "is edgeagent on this device much older or newer?") from None
    if not is_public(asked.key, "user"):
        raise Refused(what, f"the {called} has no public user key")
    return asked


class Desk:
    """what: the service, as for :class:`EdgeError`. inbox: where those who ask must want their answers, given who they are; None:
    anywhere. An answer elsewhere would be a message of ours on a subject that the asker could not publish on itself.

    rates: how often each may ask; None: as often as he likes."""

    def __init__(
        self,
        what: str,
        work: Work,
        inbox: Callable[[str], str] | None = None,
        *,
        rates: RateLimits | None = None,
        flooded: Flooded | None = None,
    ) -> None:
        self._what, self._work, self._inbox = what, work, inbox
        self._rates, self._flooded = rates, flooded
        self._dropped: dict[str, int] = {}
        self._calling = RateLimits(1, 1, shared=FLOODERS, remembered=10 * FLOODERS)
        self._telling = RateLimits(1 / FLOOD_SECONDS, 1, shared=FLOODERS, remembered=10 * FLOODERS)
        self._free = asyncio.Semaphore(AT_ONCE)
        self._working: set[asyncio.Task[None]] = set()

    async def heard(self, message: Any) -> None:
        """For ``Client.subscribe``: returns when somebody works on the message."""
        who = message.subject.split(".")[2]
        if not message.reply or (self._inbox and not message.reply.startswith(self._inbox(who) + ".")):
            return
        if len(message.data) > MAX_BYTES or (self._rates and not self._rates.allow(who)):
            self._drop(who)
            return
        self._dropped.pop(who, None)
        await self._free.acquire()
        task = asyncio.create_task(self._respond(message, who), name=f"{self._what} for {who}")
        self._working.add(task)
        task.add_done_callback(self._done)

    def _drop(self, who: str) -> None:
        if len(self._dropped) > 10 * FLOODERS:
            self._dropped.clear()
        dropped = self._dropped[who] = self._dropped.get(who, 0) + 1
        if dropped < FLOOD_MESSAGES:
            return
        if self._flooded and self._calling.allow(who):
            self._flooded(who)
        if self._telling.allow(who):
            name = who if subjects.is_token(who) else "somebody of no valid name"
            log.warning("%s asks to %s far too often: nothing is answered for now", name, self._what)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._working.discard(task)
        self._free.release()

    async def _respond(self, message: Any, who: str) -> None:
        try:
            answer = services.answer(await self._work(who, message.data))
        except (Refused, UsageProblem) as error:
            answer = services.refusal(error)
        except EdgeError as error:
            log.warning("%s", error)
            answer = self._trouble()
        except Exception:
            log.exception("cannot %s for %s", self._what, who)
            answer = self._trouble()
        try:
            await message.respond(answer)
        except Exception as error:  # nats-py's, of a connection that has ended: whoever asked asks again
            log.warning("cannot answer %s: %s", who, error)

    def _trouble(self) -> bytes:
        return services.refusal(Failed(self._what, "the hub is not well", "try again in a minute; its log says more"))

    async def close(self) -> None:
        """End what is being worked on: whoever gets no answer asks again."""
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
