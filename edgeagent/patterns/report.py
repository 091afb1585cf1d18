"""What a device says of itself without being asked: a tiny heartbeat, and a report when its stable facts changed.

The acknowledged heartbeat is also the proof that the link works end to end: it went through the leaf into the hub's stream and the
answer came back. "Connected" proves less.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Protocol

from edgeagent import subjects, wire
from edgeagent.direct import get_last
from edgeagent.errors import EdgeError, Failed, Unreachable
from edgeagent.link import Client
from edgeagent.publish import published
from edgeagent.runtime import Progress, jittered, woken

__all__ = ["Reporter"]

log = logging.getLogger(__name__)

#: After a failed heartbeat on a link that looks connected, try again after this long at first.
RETRY_SECONDS = 2.0
#: The longest that a heartbeat may take with the report that may go with it: each of their few requests has a few seconds. In seconds.
BEAT_SECONDS = 60.0
#: How late a pause may end, on a busy machine, before the watchdog is told that nothing goes on, in seconds.
SLACK_SECONDS = 60.0


class StableFacts(Protocol):
    def stable(self) -> wire.Facts: ...


class Reporter:
    """Sends heartbeats and reports of one device.

    on_link: called with None when the hub acknowledged a heartbeat, else with the error that says why it did not (Failed: it answered,
    and would not store it).
    on_report: called after each acknowledged heartbeat, with None when the hub has the report, else with the error that says why not.
    config: gives what to say of the device's configuration. repairs, hub: the same of its link.
    progress: is told when the next heartbeat is to be expected.
    """

    def __init__(
        self,
        client: Client,
        device_id: str,
        facts: StableFacts,
        *,
        heartbeat_seconds: float,
        facts_seconds: float,
        boot: str,
        on_link: Callable[[EdgeError | None], None],
        on_report: Callable[[EdgeError | None], None] = lambda error: None,
        config: Callable[[], wire.ConfigState | None] = lambda: None,
        repairs: Callable[[], wire.LinkRepairs | None] = lambda: None,
        hub: Callable[[], wire.HubLink | None] = lambda: None,
        progress: Progress | None = None,
    ) -> None:
        self._client, self._id, self._facts, self._config, self._repairs = client, device_id, facts, config, repairs
        self._hub, self._progress = hub, progress or Progress()
        self._heartbeat_seconds, self._facts_seconds = heartbeat_seconds, facts_seconds
        self._boot, self._instance = boot, secrets.token_hex(4)
        self._on_link, self._on_report = on_link, on_report
        self._wake, self._intervals_changed = asyncio.Event(), asyncio.Event()
        self._hub_has: wire.Report | None = None
        self._links = 0

    def link_changed(self) -> None:
        """The leaf has dialled anew: what was sent before says nothing of this link when it is not answered."""
        self._links += 1

    def link_came(self) -> None:
        """The leaf reached the hub (again): say so at once, and look whether the hub still has our report."""
        self._hub_has = None
        self._wake.set()

    def facts_changed(self) -> None:
        """Look at once whether there is something to report."""
        self._wake.set()

    def set_intervals(self, *, heartbeat_seconds: float, facts_seconds: float) -> None:
        """Go on with these."""
        if (heartbeat_seconds, facts_seconds) != (self._heartbeat_seconds, self._facts_seconds):
            self._heartbeat_seconds, self._facts_seconds = heartbeat_seconds, facts_seconds
            self._wake.set()
            self._intervals_changed.set()

    async def heartbeats(self) -> None:
        """Send heartbeats for ever."""
        failures = 0
        while True:
            alive = await self._beat_in_time()
            failures = 0 if alive else failures + 1
            pause = self._heartbeat_seconds if alive else min(self._heartbeat_seconds, RETRY_SECONDS * 2 ** min(failures - 1, 10))
            await self._pause(jittered(pause))

    async def reports(self) -> None:
        """Look for changed facts for ever, and report them."""
        while True:
            await woken(self._intervals_changed, jittered(self._facts_seconds))
            if self._hub_has is not None and self._facts.stable() != self._hub_has.facts:
                self._wake.set()

    async def _pause(self, seconds: float) -> None:
        self._progress.within(seconds + SLACK_SECONDS)
        await woken(self._wake, seconds)

    async def _beat_in_time(self) -> bool:
        """A leaf that hangs takes no byte at some point, and nats-py then waits for it without an end."""
        self._progress.within(BEAT_SECONDS + SLACK_SECONDS)
        beating = asyncio.ensure_future(self._beat())
        try:
            await asyncio.wait({beating}, timeout=BEAT_SECONDS)
        finally:
            beating.cancel()
        if beating.done():
            return beating.result()
        self._on_link(Unreachable("say that this device is alive", f"the leaf took nothing for {BEAT_SECONDS:g} s"))
        return False

    async def _beat(self) -> bool:
        usual = self._heartbeat_seconds == wire.Heartbeat().heartbeat_seconds
        beat = wire.encode(wire.Heartbeat() if usual else wire.Heartbeat(heartbeat_seconds=self._heartbeat_seconds))
        link = self._links
        try:
            await published(self._client, subjects.heartbeat(self._id), beat)
        except EdgeError as error:
            if link == self._links:
                self._on_link(error)
            return False
        problem = await self._report_problem()
        if link == self._links:
            self._on_link(None)
        self._on_report(problem)
        return problem is None

    async def _report_problem(self) -> EdgeError | None:
        try:
            await self._report_if_needed()
        except EdgeError as error:
            return error
        return None

    async def _report_if_needed(self) -> None:
        """Publish the report unless the hub has just this one."""
        report = wire.Report(
            id=self._id,
            facts=self._facts.stable(),
            boot=self._boot,
            instance=self._instance,
            heartbeat_seconds=self._heartbeat_seconds,
            config=self._config(),
            repairs=self._repairs(),
            hub=self._hub(),
        )
        if self._hub_has is None:
            self._hub_has = await self._read_back()
        if report == self._hub_has:
            return
        await published(self._client, subjects.report(self._id), wire.encode(report))
        self._hub_has = report
        log.info("reported %d facts to the hub", len(report.facts))

    async def _read_back(self) -> wire.Report | None:
        """Our newest report on the hub."""
        stored = await get_last(self._client, "EDGE_REPORTS", subjects.report(self._id))
        try:
            return wire.decode(stored.data, wire.Report) if stored else None
        except Failed:
            return None
