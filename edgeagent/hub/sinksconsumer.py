"""A durable consumer of one of the hub's streams, shared by all instances of the hub's services: what was not finished comes again.

On the hub's side a consumer is right: there are as many as a person has written into hub.toml, and one place on the hub says how far
each of them has come, whichever instance worked last. (Devices have none: docs/decisions.md.)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import nats.errors
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from edgeagent.backoff import delays
from edgeagent.direct import in_our_words
from edgeagent.errors import Closed, EdgeError, Failed
from edgeagent.link import Client

__all__ = ["DurableConsumer", "waiting_for"]

log = logging.getLogger("edgeagent.hub")

#: An instance that was killed holds its messages back for so long, in seconds. Whoever works longer says so in between: well within it
#: must be one request and one pause (sinkspost), or another instance does the same again.
ACK_WAIT_SECONDS = 180.0
#: A consumer that nobody asks for so long, in seconds, is removed by the hub: its section is not in hub.toml any more.
INACTIVE_SECONDS = 30 * 86_400.0
#: How long one fetch waits for a message, in seconds.
FETCH_SECONDS = 30.0
#: Bounds of the pause after the hub did not answer, in seconds.
RETRY_SECONDS = (0.5, 30.0)


class DurableConsumer:
    """hub: a connection to the account HUB. name: the consumer's, on ``stream``.

    batch: messages at once; no more than that are out at the same time, of all instances, so that they stay in order.
    policy: where a new one begins: with all that the stream has, or with what is new.
    """

    def __init__(
        self, hub: Client, stream: str, name: str, *, batch: int, policy: api.DeliverPolicy = api.DeliverPolicy.ALL
    ) -> None:
        self._hub, self._stream, self._name, self._batch, self._policy = hub, stream, name, batch, policy

    async def batches(self) -> AsyncIterator[list[Any]]:
        """nats-py's messages, for ever, as they come; each is to be acknowledged. The hub may be away meanwhile."""
        pauses = delays(*RETRY_SECONDS)
        while True:
            subscription = None
            try:
                subscription = await self._bind()
                while True:
                    found = await self._fetch(subscription)
                    pauses = delays(*RETRY_SECONDS)
                    if found:
                        yield found
            except Closed:
                raise
            except EdgeError as error:
                log.debug("%s", error)
                await asyncio.sleep(next(pauses))
            finally:
                if subscription is not None:
                    with contextlib.suppress(Exception):  # whatever is already gone is fine
                        await subscription.unsubscribe()

    async def ensure(self) -> None:
        """Make it on the hub, if it is not there as it is to be. Raises EdgeError."""
        js = self._hub.jetstream()
        with _in_our_words(f"follow {self._stream}"):
            try:
                found = (await js.consumer_info(self._stream, self._name)).config.ack_wait
            except NotFoundError:
                found = None
            if found != ACK_WAIT_SECONDS:  # not there, or made by another version
                await js.add_consumer(self._stream, self._config())

    async def _bind(self) -> Any:
        await self.ensure()
        with _in_our_words(f"follow {self._stream}"):
            return await self._hub.jetstream().pull_subscribe_bind(self._name, self._stream)

    def _config(self) -> api.ConsumerConfig:
        return api.ConsumerConfig(
            durable_name=self._name,
            deliver_policy=self._policy,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_SECONDS,
            max_ack_pending=self._batch,
            inactive_threshold=INACTIVE_SECONDS,
        )

    async def _fetch(self, subscription: Any) -> list[Any]:
        with _in_our_words(f"read {self._stream}"):
            try:
                return list(await subscription.fetch(self._batch, timeout=FETCH_SECONDS))
            except (nats.errors.TimeoutError, asyncio.TimeoutError):
                await subscription.consumer_info()  # it may have gone with its stream: then it is made again
                return []

    async def pending(self) -> int:
        """How many messages wait to be taken. Raises EdgeError."""
        await self.ensure()
        return await waiting_for(self._hub, self._stream, self._name) or 0

    @staticmethod
    async def working(messages: Sequence[Any]) -> None:
        """Say that these are still being worked on."""
        with contextlib.suppress(nats.errors.Error, OSError):
            for message in messages:
                await message.in_progress()

    @staticmethod
    async def done(messages: Sequence[Any]) -> None:
        """They need not come again. What gets lost of that comes again; whoever takes it must bear that."""
        with contextlib.suppress(nats.errors.Error, OSError):
            for message in messages:
                await message.ack()

    @staticmethod
    async def released(messages: Sequence[Any]) -> None:
        """Others may have these at once: they will not be finished here."""
        with contextlib.suppress(nats.errors.Error, OSError):
            for message in messages:
                await message.nak()


async def waiting_for(hub: Client, stream: str, name: str) -> int | None:
    """How many messages wait to be taken by a consumer; None: there is none of that name. Raises EdgeError."""
    with _in_our_words(f"look at {name}"):
        try:
            info = await hub.jetstream().consumer_info(stream, name)
        except NotFoundError:
            return None
        return (info.num_pending or 0) + (info.num_ack_pending or 0)


@contextlib.contextmanager
def _in_our_words(what: str) -> Any:
    with in_our_words(what):
        try:
            yield
        except APIError as error:
            raise Failed(what, str(error.description or error)) from None
