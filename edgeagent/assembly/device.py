"""What runs on a device, in which order: lock, identity, configuration, leaf, link, facts, answers. It stops in the reverse order.

:mod:`edgeagent.assembly.deviceloop` has it run, and begin anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import replace
from types import TracebackType

from edgeagent import __version__, enrolled, files, runtime, servers
from edgeagent.assembly.appsdoor import obey
from edgeagent.assembly.brokers import Brokers
from edgeagent.assembly.devicecommands import DeviceCommands
from edgeagent.assembly.deviceleaf import ANEW, LeafConnections, LeafMoved, leaf_options, leaf_problem, leaf_status
from edgeagent.assembly.devicelink import DeviceLink
from edgeagent.assembly.devicemcus import DeviceMcus
from edgeagent.assembly.devicemetrics import DeviceMetrics
from edgeagent.assembly.devicerecord import HubsWord
from edgeagent.assembly.devicesampling import DeviceSampling
from edgeagent.assembly.devicestart import groups_now, lock, warn_of_a_moved_card
from edgeagent.assembly.devicestatus import StatusKeeper
from edgeagent.assembly.devicestore import DeviceStore, store_bytes
from edgeagent.assembly.hubmove import choice_of
from edgeagent.assembly.liveconfig import LiveSettings
from edgeagent.assembly.renewer import Renewer, first_credentials
from edgeagent.assembly.statusled import StatusLed
from edgeagent.builtin.facts import load_plugins
from edgeagent.cel import Evaluator
from edgeagent.config import with_config
from edgeagent.enrolled import TRUST_FILE
from edgeagent.errors import EdgeError
from edgeagent.identity import Identity, identify
from edgeagent.leaf.leaf import Leaf
from edgeagent.machine import Machine
from edgeagent.natsserver.supervisor import State
from edgeagent.patterns.appconfig import AppConfig, tables_of
from edgeagent.patterns.config import Configuration
from edgeagent.patterns.events import Events
from edgeagent.patterns.facts import Facts
from edgeagent.patterns.micro import Micro
from edgeagent.patterns.query import QueryResponder
from edgeagent.patterns.report import Reporter
from edgeagent.ratelimit import RateLimits
from edgeagent.settings import Settings
from edgeagent.trust.pins import load as load_pins

__all__ = ["Agent"]

log = logging.getLogger("edgeagent")


class Agent:
    """One device's agent. ``async with Agent(settings, stop) as agent: await agent.run()``.

    stop: ends it, also while it starts. progress: is told when the next heartbeat is to be expected.
    """

    def __init__(
        self,
        wanted: Settings,
        stop: asyncio.Event,
        machine: Machine | None = None,
        *,
        progress: runtime.Progress | None = None,
    ) -> None:
        self.settings, self._stop = wanted, stop
        self._progress = progress or runtime.Progress()
        self.machine = machine or Machine()
        self.groups: tuple[str, ...] = ()
        self._began_at = ""
        self._started = False
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Agent:
        try:
            self._started = await runtime.unless(self._stop, self._start())
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not isinstance(error, ANEW):
            runtime.notify_systemd("STOPPING=1")
        await self._stack.__aexit__(kind, error, trace)

    async def _start(self) -> None:
        wanted, enter = self.settings, self._stack
        for folder, mode in ((wanted.state_folder, 0o700), (wanted.runtime_folder, 0o755)):
            files.make_folder(folder, mode)
        enrolled.check_private(wanted.state_folder, wanted.credentials_file)
        enter.enter_context(lock(wanted.state_folder))
        files.write_atomic(wanted.runtime_folder / "agent.pid", f"{os.getpid()}\n".encode())
        self.identity: Identity = identify(self.machine, wanted.state_folder, wanted.device.id)
        self._learn_groups()
        self.events = Events(self.identity.id)
        wanted = self._with_configuration()
        self.led = StatusLed(self.machine, wanted.agent.status_led, wanted.state_folder)
        enter.callback(self.led.close)
        self.status = StatusKeeper(wanted, self.identity.id, list(self.groups), self.led.show)
        enter.callback(self.status.close)
        self.tasks = runtime.Tasks()
        enter.callback(self._progress.none)
        enter.push_async_callback(self.tasks.close)
        self.tasks.start("status LED", self.led.keep())
        self.tasks.start("status", self.status.keep())

        first, self.hubs = first_credentials(wanted, time.time()), choice_of(self.settings, wanted)
        options = leaf_options(wanted, self.identity, credentials=first, store_bytes=store_bytes(wanted), machine=self.machine)
        options = replace(options, hub_urls=tuple(servers.split(self.hubs.current)))
        self.leaf = Leaf(options, on_change=self._leaf_changed)
        enter.push_async_exit(self._leave_the_leaf)
        await self.leaf.start()

        self.links = LeafConnections(self.leaf, self.identity.id, on_back=lambda: self.link.look(), on_lost=self.tasks.fail)
        enter.push_async_callback(self.links.close)
        await self.links.open()
        self._began_at = self.leaf.url

        self.renewer = Renewer(self.leaf, self.links.agent, wanted, self.identity.id, tell=self.status.renewal_changed)
        load_plugins()
        self.facts = Facts(self.machine, self._own_facts)
        self.evaluator = Evaluator()
        enter.push_async_callback(self.evaluator.close)
        self.commands = DeviceCommands(
            self.links.agent,
            self.links.local,
            self.identity.id,
            self.settings,
            self.machine,
            boot=self.identity.boot,
            evaluator=self.evaluator,
            facts=self.facts,
            events=self.events,
            labels=lambda: self.word.labels,
            heartbeat_seconds=lambda: with_config(self.settings, self.configuration.values).agent.heartbeat_seconds,
            look_at_signers=lambda: self.word.look_at_signers(),
            room=lambda: self.store.refusal(),
            profile=lambda: with_config(self.settings, self.configuration.values).agent.profile,
            hub=lambda: ",".join(self.leaf.options.hub_urls),
        )
        enter.callback(self.commands.close)
        self.store = DeviceStore(self.links.agent, self.leaf, self.identity, wanted, self.commands, self.events)
        self.store.watch(self.status.store_changed)
        self.commands.watch(self.status.commands_changed)
        self.word = HubsWord(
            self.links.agent,
            self.identity.id,
            wanted,
            self.leaf,
            self.renewer,
            self.configuration,
            self.commands,
            self.events,
            on_labels=lambda: self.reporter.facts_changed(),
        )

        sampling = DeviceSampling(self, wanted)
        self.metrics = DeviceMetrics(
            *(self.links.agent, self.identity.id, wanted, self.store, sampling),
            tell=self.events.tell,
            hub=lambda: ",".join(self.leaf.options.hub_urls),
        )
        self.status.watch_forwarding(self.metrics.forwarding)
        self.mcus = DeviceMcus(self, wanted, on_facts=lambda: self.reporter.facts_changed())
        enter.push_async_callback(self.mcus.close)
        self.brokers = Brokers(self, sampling)
        enter.push_async_callback(self.brokers.close)
        self.limits = RateLimits(wanted.query.rate_per_second, wanted.query.burst)
        self.responder = QueryResponder(
            self.links.agent,
            self.identity.id,
            facts=self.facts,
            evaluator=self.evaluator,
            limits=self.limits,
            on_answered=self.status.answered,
        )
        enter.push_async_callback(self.responder.close)
        await self.responder.start(self.groups)
        self.micro = Micro(self.links.agent, self.identity.id)
        await self.micro.switch(on=wanted.agent.micro)
        self.reporter = Reporter(
            self.links.agent,
            self.identity.id,
            self.facts,
            heartbeat_seconds=wanted.agent.heartbeat_seconds,
            facts_seconds=wanted.agent.facts_seconds,
            boot=self.identity.boot,
            on_link=lambda error: self.link.tried(error),
            on_report=self.status.report_tried,
            config=self.configuration.state,
            repairs=lambda: self.link.repairs,
            hub=lambda: self.link.hub,
            progress=self._progress,
        )
        self.app_config = AppConfig(self.links.local)
        await self.app_config.set(tables_of(self.configuration.values))
        await self.app_config.start()
        self.configuration.on_change = LiveSettings(self, self.settings, wanted).take
        self.configuration.on_state = sampling.on_alerts = self.reporter.facts_changed
        self.link: DeviceLink = DeviceLink(self, on_came=self._link_came)
        enter.push_async_callback(self.tasks.close)  # a second time: before all that they use
        self.tasks.start("heartbeats", self.reporter.heartbeats())
        self.tasks.start("reports", self.reporter.reports())
        self.tasks.start("renewal", self.renewer.keep())
        await self.word.start(self.tasks, self.groups)
        self.store.start(self.tasks)
        self.metrics.start(self.tasks)
        self.mcus.start(self.tasks)
        self.brokers.start(self.tasks)
        await obey(self.links.agent, self.leaf, self.mcus.logins_changed)
        await self.link.start()

    async def run(self) -> None:
        """Be the agent until it is stopped; raises what made it impossible to go on."""
        if self._started:
            self.status.begun()
            runtime.notify_systemd(f"READY=1\nSTATUS={self.identity.id}, local programs at {self.leaf.url}")
            log.info("%s runs; local programs connect to %s", self.identity.id, self.leaf.url)
            await self.tasks.wait(self._stop)
        log.info("stopping")

    async def _leave_the_leaf(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ANEW):
            await self.leaf.release()
        else:
            await self.leaf.stop()

    def _with_configuration(self) -> Settings:
        """The settings to begin with: what agent.toml and the last known good configuration say."""
        state = self.settings.state_folder
        warn_of_a_moved_card(self.identity, self.events)
        self.configuration = Configuration(
            state,
            self.identity.id,
            self.settings,
            self.groups,
            pins=lambda: load_pins(state / TRUST_FILE),
            tell=self.events.tell,
        )
        wanted = with_config(self.settings, self.configuration.values)
        logging.getLogger().setLevel(wanted.agent.log_level.upper())
        return wanted

    def _own_facts(self) -> dict[str, object]:
        """What the machine itself cannot know."""
        return {
            "id": self.identity.id,
            "groups": list(self.groups),
            "labels": self.word.labels,
            "alerts": self.metrics.sampling.alerts.severities,
            **self.mcus.own_facts(),
            "versions.agent": __version__,
            "versions.nats_server": self.leaf.version,
        }

    def _learn_groups(self) -> None:
        self.groups = groups_now(self.settings.credentials_file, self.identity.id, self.groups)

    def _leaf_changed(self, state: State, detail: str) -> None:
        self.status.leaf_changed(leaf_status(self.leaf), leaf_problem(self.leaf))
        if not self._began_at:
            return  # who waits for its start is told
        if state is State.RUNNING and self._began_at != self.leaf.url:
            self.tasks.fail(LeafMoved("go on", f"the leaf moved from {self._began_at} to {self.leaf.url}"))
        if state is State.FAILED and self.leaf.last_problem is not None:
            self.tasks.fail(self.leaf.last_problem)

    async def _link_came(self) -> None:
        before = self.groups
        try:
            self._learn_groups()
        except EdgeError as error:
            log.error("%s", error)
        if self.groups != before:
            await self.responder.stop()
            await self.responder.start(self.groups)
            self.configuration.set_groups(self.groups)
            await self.word.set_groups(self.groups)
            self.status.groups = list(self.groups)
        self.reporter.link_came()
        self.word.link_came()
        self.store.link_came()
        self.metrics.link_came()
