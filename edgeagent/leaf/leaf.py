"""The leaf: the nats-server on the device that local programs and the agent use, linked to the hub whenever there is one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from edgeagent import files
from edgeagent.errors import Closed, EdgeError, Refused
from edgeagent.leaf import apps, external, port
from edgeagent.leaf.conf import LOCAL_ACCOUNT, render
from edgeagent.leaf.logins import LeafLogins
from edgeagent.leaf.mqtt import Mqtt
from edgeagent.leaf.options import LeafOptions
from edgeagent.leaf.secrets import load_or_make
from edgeagent.natsserver import binary, ports, process, server
from edgeagent.natsserver.failures import StartFailed
from edgeagent.natsserver.supervisor import State, Supervisor

__all__ = ["Leaf", "LeafOptions"]

log = logging.getLogger(__name__)

NAME = "the leaf"


class Leaf(LeafLogins):
    """One device's leaf. Give it to one agent at a time: two servers on one store destroy it, and nats-server does not prevent that.

    on_change: called with every new state and, where there is one, the reason.
    """

    def __init__(self, options: LeafOptions, on_change: Callable[[State, str], None] | None = None) -> None:
        super().__init__()
        self.options = options
        #: Where local programs connect; may change when a managed leaf starts again.
        self.port = options.port
        self._version = ""
        self._respelled = False
        self._supervisor = Supervisor(NAME, self._prepare, timing=options.timing, on_change=self._changed)
        self._external = external.External(self._changed)
        self._on_change = on_change or (lambda state, detail: None)
        #: Whether and where it takes MQTT clients.
        self.mqtt = Mqtt(options)
        self._applying = asyncio.Lock()

    def _changed(self, state: State, detail: str) -> None:
        self.mqtt.changed.set()
        self._on_change(state, detail)

    async def start(self, timeout: float | None = None) -> None:
        """Write the configuration and return when the leaf can be used; one that still runs is taken over.

        timeout: seconds; None: ``start_seconds`` of the options. After an error it goes on trying; :meth:`ready` waits anew.
        Raises EdgeError: what makes it impossible, or the last problem.
        """
        await asyncio.to_thread(self._make_folders)
        if self.options.mode == "external":
            await asyncio.to_thread(self._decide_mqtt)
            self._respelled = await asyncio.to_thread(self._is_respelled)
            self._external.move(State.STARTING, problem=external.nothing_answers(self.port, self.options.unit))
            await self._offer()
        else:
            external.forbid_unit(self.options.folder)
            self._supervisor.start()
        await self.ready(timeout)

    async def _offer(self) -> None:
        """Write the configuration of an external leaf, and tell one that runs with another."""
        external.forget_managed(self.options.folder, self.options.config_file)
        if external.allow_unit(self.options.folder):
            await external.end_managed(self._launch(Path("nats-server")))
        knows_programs = external.knows_account(self.options.config_file, LOCAL_ACCOUNT)
        if await self._write():
            try:
                await self._reload()
                if not knows_programs:
                    await asyncio.sleep(external.RELOAD_SECONDS)
                    await self._reload()
            except Refused as error:
                log.info("the leaf could not be told of its new configuration: %s", error.why)

    async def ready(self, timeout: float | None = None) -> None:
        """Wait until the leaf can be used; as :meth:`start`."""
        seconds = self.options.start_seconds if timeout is None else timeout
        if self.options.mode == "managed":
            await self._supervisor.ready(seconds)
            return
        try:
            version = await asyncio.wait_for(external.until_it_answers(self.port, self.options.server_name), seconds)
        except asyncio.TimeoutError:
            problem = await external.no_answer(self.port, self.options.unit)
            self._external.move(State.STARTING, problem=problem)
            raise problem from None
        self._external.move(State.RUNNING, version=version)

    def connection_changed(self, *, up: bool, version: str = "") -> None:
        """What a connection of ours to the leaf shows: all that is known of an external one once it has answered.

        version: of the server, when it is up.
        """
        if self.options.mode == "managed" or self.state in (State.STOPPED, State.STOPPING):
            return
        problem = None if up else external.nothing_answers(self.port, self.options.unit)
        self._external.move(State.RUNNING if up else State.STARTING, version=version, problem=problem)

    async def stop(self) -> None:
        """End a managed leaf; an external one is its owner's."""
        self._external.state = State.STOPPED
        await self._supervisor.stop()

    async def release(self) -> None:
        """Let the leaf run on without us: local programs keep working while the agent restarts."""
        self._external.state = State.STOPPED
        await self._supervisor.release()

    async def restart(self, timeout: float | None = None) -> None:
        """End a managed leaf, start it again and wait until it can be used. Raises Refused for an external one."""
        self._refuse_external("restart")
        self._supervisor.restart()
        await self.ready(timeout)

    async def start_anew(self) -> None:
        """End the leaf, whoever runs it, and wait until it can be used again: an external one its unit starts.

        Raises Refused, and ends nothing, when nobody would start it again; EdgeError when it does not come back.
        """
        if self.options.mode == "managed":
            return await self.restart()
        await external.end_for_restart(self._launch(Path("nats-server")), self.options.unit)
        return await self.ready()

    async def apply(
        self,
        *,
        hub_urls: tuple[str, ...] | None = None,
        credentials: Path | None = None,
        before_restart: Callable[[], Awaitable[None]] | None = None,
        or_restart: bool = True,
    ) -> None:
        """Link to another hub or with another credentials file, without disturbing local programs. None: as before.

        New content of the same credentials file needs no call: it is read at every connect. Logins are read anew, and so is what MQTT
        needs. Only where that is switched on the leaf is restarted; before_restart is awaited then.
        or_restart: restart a managed leaf that does not take the configuration without.
        Raises UsageProblem when the urls can't be meant, EdgeError when the leaf can't be told.
        """
        self.options = replace(
            self.options,
            hub_urls=self.options.hub_urls if hub_urls is None else hub_urls,
            credentials=credentials or self.options.credentials,
        )
        if self.state in (State.STOPPED, State.STOPPING):
            raise Closed("change the leaf", f"it is {self.state.value}")
        async with self._applying:
            if await self._write():
                await self._reload(before_restart, or_restart=or_restart)

    async def redial(self, *, or_restart: bool = True) -> None:
        """End the link, if there is one, and dial the hub at once with the credentials as they are now. Local programs do not notice.

        By itself the leaf dials again ``reconnect_seconds`` after a link ended, and up to twice that after a dial that failed.
        or_restart: as for :meth:`apply`. Raises EdgeError when the leaf can't be told.
        """
        self._respelled = not self._respelled
        await self.apply(or_restart=or_restart)

    @property
    def state(self) -> State:
        return self._supervisor.state if self.options.mode == "managed" else self._external.state

    @property
    def version(self) -> str:
        """Of its nats-server; empty while it is not known."""
        return self._version if self.options.mode == "managed" else self._external.version

    @property
    def pid(self) -> int | None:
        """Process id of a managed leaf that runs, else None."""
        return self._supervisor.child.pid if self._supervisor.child else None

    def process_id(self) -> int | None:
        """Of the leaf that runs now, whoever runs it, as far as it is a process of our user."""
        return self.pid or process.find_pid(self._launch(Path("nats-server")))

    @property
    def restarts(self) -> int:
        return self._supervisor.restarts

    @property
    def last_problem(self) -> EdgeError | None:
        return self._supervisor.last_problem if self.options.mode == "managed" else self._external.problem

    @property
    def wished_port(self) -> int:
        return self.options.port

    @property
    def url(self) -> str:
        return f"nats://{ports.HOST}:{self.port}"

    def _make_folders(self) -> None:
        files.make_folder(self.options.folder, 0o700)
        self._secrets = load_or_make(self.options.folder / "secrets.json")

    async def _prepare(self, problem: EdgeError | None) -> process.Launch:
        return await asyncio.to_thread(self._make_launch, problem)

    def _make_launch(self, problem: EdgeError | None) -> process.Launch:
        found = binary.find(self.options.server)
        self._version = found.version
        launch = self._launch(found.path)
        pid = process.find_pid(launch)
        lost = problem.lost_port if isinstance(problem, StartFailed) else 0
        keep = self.options.folder / "port.json"
        self.port = port.choose(keep, self.options.port, is_ours=lambda wished: pid is not None, lost=lost)
        self.mqtt.begin(self.agent_password, pid, lost)
        self._respelled = self._is_respelled()
        changed = self._write_conf()
        stale = pid is not None and (changed or process.program_of(pid) != found.path.resolve())
        return replace(self._launch(found.path), replace=stale)

    def _launch(self, path: Path) -> process.Launch:
        return server.launch(
            path,
            self.options.config_file,
            name=NAME,
            log=self.options.log_file,
            port=self.port,
            environment={"GOMEMLIMIT": f"{self.options.go_memory_limit_bytes}B"},
            ready_seconds=self.options.start_seconds,
        )

    async def _write(self) -> bool:
        before = self.mqtt.status(), self.mqtt.problem
        await asyncio.to_thread(self._decide_mqtt)
        if (self.mqtt.status(), self.mqtt.problem) != before:
            self._changed(self.state, "")
        return await asyncio.to_thread(self._write_conf)

    def _decide_mqtt(self) -> None:
        self.mqtt.decide(self.agent_password, self.process_id())

    def _write_conf(self) -> bool:
        """Write the configuration; False, and no write, when it is the same as before (cards wear, disks are full)."""
        text = self._conf_text(self._respelled)
        if files.read_if_there(self.options.config_file) == text:
            return False
        files.write_atomic(self.options.config_file, text, 0o600)
        return True

    def _is_respelled(self) -> bool:
        """Whether an earlier run left the configuration so; a leaf that still runs with it is then not told anything."""
        return files.read_if_there(self.options.config_file) == self._conf_text(True)

    def _conf_text(self, respelled: bool) -> bytes:
        conf = self.options.conf(self._known_secrets, self.port, respelled=respelled)
        known = apps.load(self.options.apps_file).values()
        # Not nats-server's to read, but another limit makes another file: a leaf that was left running is then started anew with it.
        head = f"# GOMEMLIMIT={self.options.go_memory_limit_bytes}B\n"
        return (head + render(replace(conf, apps=tuple(known), mqtt=self.mqtt.conf))).encode("utf-8", "surrogateescape")

    async def _reload(self, before_restart: Callable[[], Awaitable[None]] | None = None, *, or_restart: bool = True) -> None:
        if self.options.mode == "external":
            launch = self._launch(Path("nats-server"))
            await external.signal_reload(launch, self.options.unit, self.port, self.options.server_name)
            self.mqtt.refuse_problem()
            return
        child = self._supervisor.child
        if child is None or self.state is not State.RUNNING:
            return  # it reads the new configuration when it starts
        if self.mqtt.needs_restart:
            log.info(
                "the leaf is started anew: what it listens to for MQTT changed, which nats-server takes up at its start only"
            )
            if before_restart:
                await before_restart()
            await self.restart()
            return
        try:
            await server.reload(child)
        except EdgeError as error:
            if not or_restart:
                raise
            log.warning("%s; it is restarted", error.why)
            await self.restart()

    def _refuse_external(self, verb: str) -> None:
        if self.options.mode == "external":
            raise Refused(f"{verb} the leaf", "systemd runs it", f"`sudo systemctl {verb} {self.options.unit}`")
