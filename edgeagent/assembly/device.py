"""What runs on a device, in which order: lock, identity, leaf, link, facts, answers. It stops in the reverse order.

``python -m edgeagent.assembly.device SETTINGS`` is what ``edgeagent run`` becomes: the process never loads the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from pathlib import Path

from edgeagent import __version__, files, runtime, settings
from edgeagent.assembly.deviceleaf import LeafConnections, leaf_options, leaf_problem, leaf_status
from edgeagent.assembly.devicestatus import StatusKeeper
from edgeagent.assembly.linkrepair import LinkDoubt, end_link
from edgeagent.builtin.facts import load_plugins
from edgeagent.cel import Evaluator
from edgeagent.errors import EdgeError, Failed, Unreachable, UsageProblem
from edgeagent.identity import Identity, identify
from edgeagent.leaf.leaf import Leaf
from edgeagent.leaf.uplink import Uplink
from edgeagent.machine import Machine
from edgeagent.natsserver.supervisor import State
from edgeagent.patterns.facts import Facts
from edgeagent.patterns.micro import Micro
from edgeagent.patterns.query import QueryResponder
from edgeagent.patterns.report import Reporter
from edgeagent.ratelimit import RateLimit
from edgeagent.settings import Settings
from edgeagent.trust import creds

__all__ = ["Agent", "main", "run"]

log = logging.getLogger("edgeagent")


class LeafMoved(Failed):
    """The leaf was restarted and another program had taken its port meanwhile."""


class Agent:
    """One device's agent. ``async with Agent(settings) as agent: await agent.run(stop)``."""

    def __init__(self, wanted: Settings, machine: Machine | None = None) -> None:
        self.settings = wanted
        self.machine = machine or Machine()
        self.groups: tuple[str, ...] = ()
        self._began_at = ""
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Agent:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        runtime.notify_systemd("STOPPING=1")
        await self._stack.aclose()

    async def _start(self) -> None:
        wanted, enter = self.settings, self._stack
        for folder, mode in ((wanted.state_folder, 0o700), (wanted.runtime_folder, 0o755)):
            files.make_folder(folder, mode)
        enter.enter_context(files.Lock(wanted.runtime_folder / "agent.pid", "run the agent"))
        self.identity: Identity = identify(self.machine, wanted.state_folder, wanted.device.id)
        self._learn_groups()
        self.status = StatusKeeper(wanted, self.identity.id, list(self.groups))
        enter.callback(self.status.close)
        self.tasks = runtime.Tasks()

        self.leaf = Leaf(leaf_options(wanted, self.identity), on_change=self._leaf_changed)
        enter.push_async_callback(self.leaf.stop)
        await self.leaf.start()

        self.links = LeafConnections(self.leaf, self.identity.id, on_back=self._leaf_came_back)
        enter.push_async_callback(self.links.close)
        await self.links.open()
        self._began_at = self.leaf.url

        load_plugins()
        self.facts = Facts(self.machine, self._own_facts)
        self.evaluator = Evaluator()
        enter.push_async_callback(self.evaluator.close)
        self.responder = QueryResponder(
            self.links.agent,
            self.identity.id,
            facts=self.facts,
            evaluator=self.evaluator,
            limit=RateLimit(wanted.query.rate_per_second, wanted.query.burst),
            on_answered=self.status.answered,
        )
        await self.responder.start(self.groups)
        self.micro = Micro(self.links.agent, self.identity.id, enabled=wanted.agent.micro)
        await self.micro.start()
        self.reporter = Reporter(
            self.links.agent,
            self.identity.id,
            self.facts,
            heartbeat_seconds=wanted.agent.heartbeat_seconds,
            facts_seconds=wanted.agent.facts_seconds,
            boot=self.identity.boot,
            on_link=self._link_tried,
        )
        self.doubt = LinkDoubt()
        self.uplink = Uplink(self.links.system, self._uplink_changed)
        enter.push_async_callback(self.tasks.close)
        self.tasks.start("heartbeats", self.reporter.heartbeats())
        self.tasks.start("reports", self.reporter.reports())
        self.tasks.start("status", self.status.keep())
        self.tasks.start("watchdog", runtime.feed_watchdog())
        await self.uplink.start()

    async def run(self, stop: asyncio.Event) -> None:
        """Be the agent until ``stop`` is set; raises what made it impossible to go on."""
        runtime.notify_systemd(f"READY=1\nSTATUS={self.identity.id}, local programs at {self.leaf.url}")
        log.info("%s runs; local programs connect to %s", self.identity.id, self.leaf.url)
        await self.tasks.wait(stop)
        log.info("stopping")

    def _own_facts(self) -> dict[str, object]:
        """What the machine itself cannot know."""
        return {
            "id": self.identity.id,
            "groups": list(self.groups),
            "labels": dict(self.settings.device.labels),
            "versions.agent": __version__,
            "versions.nats_server": self.leaf.version,
        }

    def _learn_groups(self) -> None:
        """The groups are the hub's decision; they stand in the credentials. Without credentials there are none yet."""
        path = self.settings.credentials_file
        if not path.exists():
            return
        login = creds.peek(path)
        if login.name != self.identity.id:
            raise UsageProblem(
                f"be {self.identity.id}",
                f"the credentials in {path} are those of {login.name!r}",
                f"set `device.id` to {login.name!r} in agent.toml, or put this device's own credentials there",
            )
        self.groups = login.groups

    def _leaf_changed(self, state: State, detail: str) -> None:
        self.status.leaf_changed(leaf_status(self.leaf), leaf_problem(self.leaf))
        if state is State.RUNNING and self._began_at not in ("", self.leaf.url):
            self.tasks.start("leaf moved", self._leaf_moved())

    async def _leaf_moved(self) -> None:
        raise LeafMoved("go on", f"the leaf moved from {self._began_at} to {self.leaf.url}")

    def _leaf_came_back(self) -> None:
        """The leaf was restarted: it may have linked before we listened again."""
        self.tasks.start("look at the link", self.uplink.look())

    def _link_tried(self, error: EdgeError | None) -> None:
        self.status.link_tried(error)
        if error is None:
            self.doubt.acknowledged()
        elif isinstance(error, Unreachable) and self.uplink.connected and self.doubt.failed():
            self.tasks.start("end the link", self._end_link())

    async def _end_link(self) -> None:
        try:
            await end_link(self.links.system)
        except EdgeError as error:
            log.error("%s", error)

    def _uplink_changed(self, connected: bool) -> None:
        log.info("the leaf is %s the hub", "linked to" if connected else "cut off from")
        if connected:
            self.doubt.came()
            self.tasks.start("link came", self._link_came())
        else:
            self.status.link_lost()

    async def _link_came(self) -> None:
        before = self.groups
        try:
            self._learn_groups()
        except EdgeError as error:
            log.error("%s", error)
        if self.groups != before:
            await self.responder.stop()
            await self.responder.start(self.groups)
            self.status.groups = list(self.groups)
        self.reporter.link_came()


async def run(wanted: Settings) -> None:
    """Be the agent until SIGTERM or SIGINT."""
    stop = runtime.stop_on_signals()
    while not stop.is_set():
        try:
            async with Agent(wanted) as agent:
                await agent.run(stop)
        except LeafMoved as moved:
            log.warning("%s; the agent begins anew", moved.why)


def main() -> None:
    """``python -m edgeagent.assembly.device SETTINGS``"""
    try:
        wanted = settings.load(Path(sys.argv[1]) if sys.argv[1:] and Path(sys.argv[1]).exists() else None)
        runtime.set_up_logging(wanted.agent.log_level)
        asyncio.run(run(wanted))
    except EdgeError as error:
        sys.stderr.write(f"edgeagent: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
