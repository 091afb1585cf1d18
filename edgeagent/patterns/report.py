"""What a device says of itself without being asked: a tiny heartbeat, and a report when its stable facts changed.

The acknowledged heartbeat is also the proof that the link works end to end: it went through the leaf into the hub's stream and the
answer came back. "Connected" proves less.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from typing import Protocol

from edgeagent import subjects, wire
from edgeagent.direct import get_last
from edgeagent.errors import EdgeError, Failed
from edgeagent.link import Client
from edgeagent.publish import published
from edgeagent.runtime import jittered

__all__ = ["Reporter"]

log = logging.getLogger(__name__)

#: After a failed heartbeat on a link that looks connected, try again after this long at first.
RETRY_SECONDS = 2.0


class StableFacts(Protocol):
    def stable(self) -> wire.Facts: ...


class Reporter:
    """Sends heartbeats and reports of one device.

    on_link: called with None when the hub acknowledged a heartbeat, else with the error that says why it did not (Failed: it answered,
    and would not store it).
    on_report: called after each acknowledged heartbeat, with None when the hub has the report, else with the error that says why not.
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
    ) -> None:
        self._client, self._id, self._facts = client, device_id, facts
        self._heartbeat_seconds, self._facts_seconds = heartbeat_seconds, facts_seconds
        self._boot, self._instance = boot, secrets.token_hex(4)
        self._on_link, self._on_report = on_link, on_report
        self._wake = asyncio.Event()
        self._hub_has: wire.Facts | None = None

    def link_came(self) -> None:
        """The leaf reached the hub (again): say so at once, and look whether the hub still has our report."""
        self._hub_has = None
        self._wake.set()

    def facts_changed(self) -> None:
        """Look at once whether there is something to report."""
        self._wake.set()

    async def heartbeats(self) -> None:
        """Send heartbeats for ever."""
        failures = 0
        while True:
            alive = await self._beat()
            failures = 0 if alive else failures + 1
            pause = self._heartbeat_seconds if alive else min(self._heartbeat_seconds, RETRY_SECONDS * 2 ** min(failures - 1, 10))
            await self._pause(jittered(pause))

    async def reports(self) -> None:
        """Look for changed facts for ever, and report them."""
        while True:
            await asyncio.sleep(jittered(self._facts_seconds))
            if self._hub_has is not None and self._facts.stable() != self._hub_has:
                self._wake.set()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
        self._wake.clear()

    async def _beat(self) -> bool:
        beat = wire.encode(wire.Heartbeat(heartbeat_seconds=self._heartbeat_seconds))
        try:
            await published(self._client, subjects.heartbeat(self._id), beat)
        except EdgeError as error:
            self._on_link(error)
            return False
        problem = await self._report_problem()
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
        stable = self._facts.stable()
        if self._hub_has is None:
            self._hub_has = await self._read_back()
        if stable == self._hub_has:
            return
        report = wire.Report(
            id=self._id, facts=stable, boot=self._boot, instance=self._instance, heartbeat_seconds=self._heartbeat_seconds
        )
        await published(self._client, subjects.report(self._id), wire.encode(report))
        self._hub_has = stable
        log.info("reported %d facts to the hub", len(stable))

    async def _read_back(self) -> wire.Facts | None:
        """The facts of our newest report on the hub, if it is of this run of the agent and says the same otherwise."""
        stored = await get_last(self._client, "EDGE_REPORTS", subjects.report(self._id))
        if stored is None:
            return None
        try:
            report = wire.decode(stored.data, wire.Report)
        except Failed:
            return None
        same_run = (report.instance, report.heartbeat_seconds) == (self._instance, self._heartbeat_seconds)
        return report.facts if same_run else None
