"""Mends a link that looks up but carries no answers: has the leaf dial anew, then make its remote anew, then begin anew itself.

:mod:`edgeagent.leaf.linkdoubt` decides; the heartbeats are the probe.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone

from edgeagent import wire
from edgeagent.errors import EdgeError, Unreachable
from edgeagent.leaf.leaf import Leaf
from edgeagent.leaf.linkdoubt import LinkDoubt, Step
from edgeagent.leaf.uplink import Uplink
from edgeagent.link import Client, request
from edgeagent.times import duration, rfc3339

__all__ = ["LinkRepair", "end_link"]

log = logging.getLogger("edgeagent")

#: What the leaf does, and did.
_DOES = {Step.DIAL: "dials anew", Step.RELOAD: "makes its remote anew", Step.RESTART: "is restarted"}
_DID = {Step.DIAL: "dialled anew", Step.RELOAD: "made its remote anew", Step.RESTART: "was restarted"}


class LinkRepair:
    """Hears how each heartbeat ended, and does what the link needs.

    system: a connection to the leaf's system account. is_visiting: whether the leaf's link is for renewing credentials only.
    tell: as :meth:`edgeagent.patterns.events.Events.tell`. on_change: called after each step. doubt: decides.
    """

    def __init__(
        self,
        leaf: Leaf,
        system: Client,
        uplink: Uplink,
        *,
        is_visiting: Callable[[], bool],
        tell: Callable[..., None],
        on_change: Callable[[], None],
        doubt: LinkDoubt | None = None,
    ) -> None:
        self._leaf, self._system, self._uplink, self._is_visiting = leaf, system, uplink, is_visiting
        self._tell, self._on_change, self._doubt = tell, on_change, doubt or LinkDoubt()
        #: What was done since the agent started; None: nothing.
        self.repairs: wire.LinkRepairs | None = None
        self._links, self._answered_pid = 0, 0
        self._failed = asyncio.Event()
        self._failing_since: float | None = None
        self._done: Counter[Step] = Counter()

    def came(self) -> None:
        """The leaf connected to the hub."""
        self._links += 1
        self._doubt.came()

    def tried(self, error: EdgeError | None) -> None:
        """A heartbeat was acknowledged, or not."""
        if error is None:
            self._heal()
        elif isinstance(error, Unreachable):
            self._failing_since = time.monotonic() if self._failing_since is None else self._failing_since
            self._failed.set()

    async def keep(self) -> None:
        """Do what is to be done, for ever, one step after the other."""
        while True:
            await self._failed.wait()
            self._failed.clear()
            step, why = await self._judge()
            if step is not None:
                log.warning("%s: it %s", why, _DOES[step])
                await self._take(step)

    async def _judge(self) -> tuple[Step | None, str]:
        """What the failed heartbeat asks for, by what the leaf says of its link now, and why."""
        links = self._links
        linked = await self._uplink.look()
        if links != self._links or self._is_visiting() or self._failing_since is None:
            return None, ""  # it was sent over an older link, or the link is good again
        if linked is None:
            # One that has not answered yet may still be reading its store.
            is_known = self._leaf.process_id() == self._answered_pid
            return self._doubt.silent() if is_known else None, "the leaf has long answered nobody"
        self._answered_pid = self._leaf.process_id() or 0
        if linked:
            return self._doubt.unanswered(), "the hub acknowledges nothing although the leaf is linked"
        self._doubt.unlinked()
        return None, ""

    async def _take(self, step: Step) -> None:
        try:
            if step is Step.DIAL:
                await end_link(self._system)
            elif step is Step.RELOAD:
                await self._leaf.redial(or_restart=False)
            else:
                await self._leaf.start_anew()
        except EdgeError as error:
            log.error("%s", error)
            return
        self._done[step] += 1
        self._count(step)

    def _count(self, step: Step) -> None:
        before = self.repairs or wire.LinkRepairs()
        self.repairs = wire.LinkRepairs(
            dialled=before.dialled + (step is Step.DIAL),
            reloaded=before.reloaded + (step is Step.RELOAD),
            restarted=before.restarted + (step is Step.RESTART),
            last=step.value,
            time=rfc3339(datetime.now(timezone.utc)),
        )
        self._on_change()

    def _heal(self) -> None:
        """The link is good; say what it took."""
        self._doubt.acknowledged()
        self._answered_pid = self._leaf.process_id() or 0
        since, self._failing_since = self._failing_since, None
        done, self._done = self._done, Counter()
        if not done or since is None:
            return
        steps = ", ".join(f"{_DID[step]}{f' {count} times' if count > 1 else ''}" for step, count in done.items())
        seconds = round(time.monotonic() - since)
        text = f"no heartbeat was acknowledged for {duration(seconds)}, until the leaf {steps}"
        severity = "warning" if done[Step.RESTART] else "info"
        self._tell(severity, "link.repaired", text, seconds=seconds, **{step.value: done[step] for step in Step})


async def end_link(system: Client) -> None:
    """End the leaf's connections to the hub; it dials again by itself. Local programs do not notice.

    system: a connection to the leaf's system account. Raises EdgeError when the leaf can't be asked.
    """
    answer = await request(system, "$SYS.REQ.SERVER.PING.LEAFZ", b"{}", what="ask the leaf for its link")
    found = json.loads(answer.data)
    for leaf in found.get("data", {}).get("leafs") or []:
        body = json.dumps({"cid": leaf["id"]}).encode()
        await request(system, f"$SYS.REQ.SERVER.{found['server']['id']}.KICK", body, what="end the leaf's link")
