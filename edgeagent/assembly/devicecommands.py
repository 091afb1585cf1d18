"""Commands on a device, put together: the journal, the logs that are followed into it, the queue, and what the hub is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec

from edgeagent import wire
from edgeagent.actions import Context, Microcontrollers
from edgeagent.builtin.actions import load_plugins
from edgeagent.builtin.actions.plugin import load_folder
from edgeagent.builtin.facts import clock
from edgeagent.cel import Evaluator
from edgeagent.command import Result
from edgeagent.direct import Stored, get_last
from edgeagent.documents import Source
from edgeagent.enrolled import TRUST_FILE
from edgeagent.errors import EdgeError
from edgeagent.journal import FILE, Journal
from edgeagent.journalhub import linked_to
from edgeagent.link import Client
from edgeagent.machine import Machine
from edgeagent.patterns.askprogram import NobodyThere, ask_program
from edgeagent.patterns.commandjudge import Here
from edgeagent.patterns.commandqueue import CommandQueue
from edgeagent.patterns.commandresults import Results
from edgeagent.patterns.commands import CommandLogs
from edgeagent.patterns.events import Events
from edgeagent.patterns.facts import Facts
from edgeagent.patterns.gpio import Pins
from edgeagent.patterns.knowntime import KnownTime
from edgeagent.patterns.localrun import LocalRuns
from edgeagent.patterns.signedtimes import FILE as SIGNED_FILE
from edgeagent.patterns.signedtimes import SignedTimes
from edgeagent.patterns.turn import Turn
from edgeagent.patterns.unitactions import UnitActions
from edgeagent.publish import published
from edgeagent.runtime import Tasks, jittered, woken
from edgeagent.settings import Settings
from edgeagent.status import CommandsStatus
from edgeagent.times import parse_rfc3339
from edgeagent.trust import pins as trustpins

__all__ = ["DeviceCommands"]

log = logging.getLogger("edgeagent")

#: How often the journal forgets what expired long ago, in seconds; also when a link comes.
PRUNE_SECONDS = 3600.0


class DeviceCommands:
    """The commands of one device.

    settings: of agent.toml; what is allowed here is not for the hub to say. client: to the leaf. local: among its programs. boot: id of this
    boot. labels,
    heartbeat_seconds, profile, hub: give what they are now; hub: where the link leads. look_at_signers: reads who may sign now, from the hub. room: as for
    :class:`~edgeagent.patterns.commandjudge.Here`. Raises Failed when the journal can't be opened.
    """

    def __init__(
        self,
        client: Client,
        local: Client,
        device_id: str,
        settings: Settings,
        machine: Machine,
        *,
        boot: str,
        evaluator: Evaluator,
        facts: Facts,
        events: Events,
        labels: Callable[[], Mapping[str, str]],
        heartbeat_seconds: Callable[[], float],
        look_at_signers: Callable[[], Awaitable[None]],
        room: Callable[[], str] = lambda: "",
        profile: Callable[[], str] = lambda: "normal",
        hub: Callable[[], str] = lambda: "",
    ) -> None:
        load_plugins()
        load_folder(machine)
        for error in Pins(settings, machine).begin():
            events.tell("error", "gpio.not_set", str(error))
        self._client, self._id, self._settings, self._machine, self._boot = client, device_id, settings, machine, boot
        self._local, self._heartbeat_seconds, self._profile = local, heartbeat_seconds, profile
        #: What actions may tell the microcontrollers of this device; whoever keeps these sets it.
        self.mcus: Microcontrollers | None = None
        #: Asks a program that speaks MQTT, as :meth:`LeafMqtt.ask`; the same.
        self.ask_mqtt: Callable[[str, str, bytes, float], Awaitable[bytes | None]] | None = None
        self._linked, self._hub = asyncio.Event(), hub
        self._journal = Journal(settings.state_folder / FILE)
        if self._journal.damaged:
            events.tell("error", "command.journal_lost", self._journal.damaged)
        signed = SignedTimes(settings.state_folder / SIGNED_FILE, self._pins)
        self._time = KnownTime(
            client,
            device_id,
            synchronized=self.synchronized,
            floor=signed.floor,
            heartbeat=self._heartbeat,
            on_known=lambda: self._queue.wake(),
        )
        here = Here(
            device_id=device_id,
            settings=settings,
            pins=self._pins,
            saw=signed.saw,
            labels=labels,
            facts=facts.current,
            evaluator=evaluator,
            now=self._time.now,
            enrolled_at=_enrolled_at(settings),
            room=room,
        )
        self._logs = CommandLogs(
            client,
            self._journal,
            here,
            tell=events.tell,
            on_taken=self._taken,
            look_at_signers=look_at_signers,
            refuse=self._refuse,
        )
        turn, self._units = Turn(), UnitActions()
        #: Has an action run that somebody on this side of the hub asks for.
        self.ask = LocalRuns(settings, self._context, turn).run
        self._results = Results(client, device_id, self._journal, on_claimed=lambda: self._queue.wake(), tell=events.tell)
        self._queue = CommandQueue(
            device_id,
            self._journal,
            self._results,
            self._time,
            settings=settings,
            boot=boot,
            context=self._context,
            turn=turn,
            units=self._units,
        )

    @property
    def time(self) -> KnownTime:
        """The time that this device knows."""
        return self._time

    def start(self, tasks: Tasks) -> None:
        """Run commands from now on, until ``tasks`` are closed."""
        tasks.start("commands", self._queue.run())  # first: what it renews is what the hub is to be told
        tasks.start("known time", self._time.run())
        tasks.start("command results", self._results.run())
        tasks.start("journal", self._prune())

    def watch(self, changed: Callable[[Callable[[], CommandsStatus]], None]) -> None:
        """Have ``changed`` called now and after each change, with what says how the commands are; that raises Failed of the journal."""
        self._journal.on_change = lambda: changed(self._summary)
        changed(self._summary)

    def _summary(self) -> CommandsStatus:
        counts, last = self._journal.counts(), self._journal.last_ended()
        waiting, running = counts.pop("accepted", 0), counts.pop("running", 0)
        found = CommandsStatus(waiting=waiting, running=running, unreported=sum(counts.values()))
        if last is None:
            return found
        return msgspec.structs.replace(found, last=last.action, last_state=last.state, last_ended=last.ended)

    def close(self) -> None:
        self._journal.close()

    def link_came(self) -> None:
        """The hub can be reached (again), or another one."""
        with contextlib.suppress(EdgeError):  # a full disk: at the next link, then
            linked_to(self._journal, self._hub(), self._time.now() or 0.0)
        self._logs.link_came()
        self._time.link_came()
        self._results.wake()
        self._linked.set()

    async def _prune(self) -> None:
        while True:
            await woken(self._linked, jittered(PRUNE_SECONDS))
            if past := self._time.past():
                with contextlib.suppress(EdgeError):  # a full disk; whoever has something to write says so
                    self._journal.prune(past)

    def sources(self, groups: Iterable[str]) -> list[Source]:
        """What to follow."""
        return self._logs.sources(groups)

    async def changed(self, key: str, stored: Stored | None) -> None:
        """For the follower of the sources."""
        await self._logs.changed(key, stored)

    async def _refuse(self, result: Result) -> bool:
        return await self._results.refuse(result)

    def _taken(self, stop: list[str]) -> None:
        self._queue.stop(stop)
        self._results.wake()

    def _pins(self) -> trustpins.Pins:
        return trustpins.load(self._settings.state_folder / TRUST_FILE)

    def synchronized(self) -> bool:
        """Whether something keeps the system's clock right."""
        return clock.synchronized(self._machine) is True

    def _heartbeat(self) -> bytes:
        return wire.encode(wire.Heartbeat(heartbeat_seconds=self._heartbeat_seconds()))

    def _context(self, command_id: str, write: Callable[[bytes], None], cancelled: asyncio.Event) -> Context:
        return Context(
            device_id=self._id,
            settings=self._settings,
            machine=self._machine,
            boot=self._boot,
            write=write,
            cancelled=cancelled,
            ask=self._ask,
            read=self._read,
            store=self._store,
            id=command_id,
            mcus=self.mcus,
            signed=self._journal.envelope(command_id),
            profile=self._profile(),
            units=self._units if self._units.usable() else None,
        )

    async def _ask(self, subject: str, body: bytes, seconds: float) -> bytes:
        try:
            return await ask_program(self._local, subject, body, seconds)
        except NobodyThere:
            app, action = subject.split(".")[2:4]
            found = await self.ask_mqtt(app, action, body, seconds) if self.ask_mqtt else None
            if found is None:
                raise
            return found

    async def _read(self, stream: str, subject: str, seconds: float) -> bytes | None:
        stored = await get_last(self._client, stream, subject, timeout=seconds)
        return stored.data if stored else None

    async def _store(self, what: str, data: bytes, headers: Mapping[str, str], seconds: float) -> int:
        return await published(self._client, f"edge.from.{self._id}.{what}", data, headers=headers, timeout=seconds)


def _enrolled_at(settings: Settings) -> float | None:
    """When this device was enrolled, Unix seconds; None when that is not known."""
    text = settings.enrolment.enrolled_at if settings.enrolment else ""
    try:
        return parse_rfc3339(text).timestamp() if text else None
    except ValueError as error:
        log.warning("enrolment.json: %s", error)
        return None
