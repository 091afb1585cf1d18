"""Listens to what nats-server says of trouble (:mod:`edgeagent.hub.alarms`), and makes events of the hub of it.

Every instance of the hub's services does, with a connection of its own to the system account: who tries one login after the other fills that.
"""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial
from typing import Any

from edgeagent import subjects, wire
from edgeagent.direct import in_our_words
from edgeagent.errors import EdgeError
from edgeagent.hub import alarms
from edgeagent.hub.alarms import ALARMS, Alarm
from edgeagent.hub.alarmtally import Due, Tally
from edgeagent.hub.ownevents import OwnEvents
from edgeagent.link import Client
from edgeagent.ratelimit import RateLimits
from edgeagent.runtime import woken

__all__ = ["AlarmWatch"]

#: How long to gather before something is told, in seconds: between these, by chance.
PATIENCE_SECONDS = (2.0, 5.0)
#: Messages of one kind that are looked into, a second and at once. Of more only the number is known.
READ_PER_SECOND, READ_AT_ONCE = 200.0, 400
#: What may wait to be counted, of each kind; what comes beside it is not counted.
WAITING_MESSAGES, WAITING_BYTES = 4096, 8 << 20


class AlarmWatch:
    """system, hub: connections to SYS and HUB. tally: what was counted."""

    def __init__(self, system: Client, hub: Client, events: OwnEvents) -> None:
        self._system, self._hub, self._events = system, hub, events
        self.tally = Tally(random.uniform(*PATIENCE_SECONDS))
        self._reads = RateLimits(READ_PER_SECOND, READ_AT_ONCE, shared=4, remembered=len(ALARMS))
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Listen. Raises EdgeError."""
        with in_our_words("hear what nats-server says of trouble"):
            for alarm in ALARMS:
                client = self._system if alarm.account == "SYS" else self._hub
                await client.subscribe(
                    alarm.subject,
                    cb=partial(self._heard, alarm),
                    pending_msgs_limit=WAITING_MESSAGES,
                    pending_bytes_limit=WAITING_BYTES,
                )
            await self._hub.subscribe(subjects.live(subjects.HUB, "event.*"), cb=self._told)

    async def run(self) -> None:
        """Tell, for ever."""
        while True:
            await woken(self._wake, self.tally.next_due(time.monotonic()))
            for due in self.tally.due(time.monotonic()):
                self._tell(due)

    def happened(self, kind: str, who: str, count: int) -> None:
        """What was found by looking counts as if it had been said."""
        self.tally.add(alarms.kinds()[kind], who, time.monotonic(), count)
        self._wake.set()

    async def _heard(self, alarm: Alarm, message: Any) -> None:
        if alarm.only not in message.data:
            return
        who: str | None = ""
        if self._reads.allow(alarm.kind):
            who = alarms.read(alarm, message.subject, message.data)
        if who is None:
            return
        self.tally.add(alarm, who, time.monotonic())
        self._wake.set()

    def _tell(self, due: Due) -> None:
        self._events.tell(due.severity, due.alarm.kind, due.text, once=True, count=due.times, who=due.who)
        self.tally.told(due.alarm.kind, time.monotonic())

    async def _told(self, message: Any) -> None:
        """An instance of the hub's services told something."""
        try:
            event = wire.decode(message.data, wire.Event)
        except EdgeError:
            return
        self.tally.told(event.kind, time.monotonic())
