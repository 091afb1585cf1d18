"""What runs on the hub, in which order: lock, nats-server, streams, presence. And the one-shot jobs on the hub's own machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from edgeagent import context, direct, files, runtime, subjects
from edgeagent.errors import EdgeError, Refused, Unreachable
from edgeagent.hub import register, streams
from edgeagent.hub.conf import HubConf, render
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import Keyring, Service
from edgeagent.hub.presence_keeper import PresenceKeeper
from edgeagent.link import Client, connect, request
from edgeagent.natsserver import binary, server
from edgeagent.natsserver.process import Launch
from edgeagent.natsserver.supervisor import State, Supervisor, Timing
from edgeagent.times import parse_rfc3339
from edgeagent.trust import creds

__all__ = ["add_device", "look", "make", "run"]

log = logging.getLogger("edgeagent.hub")

#: A large store takes a while to be read after a crash.
READY_SECONDS = 300.0


def make(place: HubFolder, options: HubOptions, admin: str) -> context.Context:
    """Make a hub in ``place`` and a context for its first administrator, which becomes the current one."""
    if options.name in context.names():
        raise Refused(
            f"make the hub {options.name!r}",
            "you have a context of that name already",
            f"choose another --name, or `edgeagent context rm {options.name}`",
        )
    place.create(options)
    keyring = Keyring.create(place.path)
    login = keyring.operator_credentials(admin, "admin")
    file = place.path / f"{admin}.creds"
    files.write_atomic(file, login.format().encode(), 0o600)
    made = context.Context(name=options.name, url=_client_url(options), credentials=str(file))
    context.save(made, make_current=True)
    return made


def _client_url(options: HubOptions) -> str:
    host = "127.0.0.1" if options.listen in ("0.0.0.0", "::") else options.listen
    return f"nats://{host}:{options.client_port}"


async def run(place: HubFolder) -> None:
    """Be the hub until SIGTERM or SIGINT."""
    runtime.set_up_logging("info")
    options, keyring = place.options(), Keyring.load(place.path)
    stop = runtime.stop_on_signals()
    with files.Lock(place.lock, f"run the hub in {place.path}"):
        async with _server(place, options, keyring), _services(options, keyring) as tasks:
            runtime.notify_systemd("READY=1")
            log.info("the hub is up: operators at %s, devices at %s:%d", _client_url(options), options.listen, options.leaf_port)
            await tasks.wait(stop)
            runtime.notify_systemd("STOPPING=1")


@contextlib.asynccontextmanager
async def _server(place: HubFolder, options: HubOptions, keyring: Keyring) -> AsyncIterator[Supervisor]:
    """nats-server, kept running. What makes the very first start fail is raised."""
    found = binary.find(options.server)
    _write_configuration(place, options, keyring)
    _load_early(place, keyring.account_public("FLEET"))
    ports = files.make_folder(place.path / "ports", 0o700)

    async def prepare(problem: EdgeError | None) -> Launch:
        return server.launch(found.path, place.configuration, name="the hub's nats-server", log=place.log, ports_folder=ports)

    def changed(state: State, detail: str) -> None:
        if state is State.BACKING_OFF:
            log.error("nats-server ended and is started again: %s", detail)
            if not supervisor.restarts and first.is_set():
                failed.set()

    first, failed = asyncio.Event(), asyncio.Event()
    first.set()
    supervisor = Supervisor("the hub's nats-server", prepare, timing=Timing(cap_seconds=5), on_change=changed)
    supervisor.start()
    try:
        await _first_ready(supervisor, failed)
        first.clear()
        yield supervisor
    finally:
        await supervisor.stop()


def _load_early(place: HubFolder, account: str) -> None:
    """Make nats-server load ``account``, and those that it imports from, before it listens.

    Otherwise it does so at the account's first login, and takes the subscriptions away from every leaf that connects meanwhile: their
    links stay up and carry nothing to them (nats-server 2.15.1; 5 of 15 restarts with three leafs). It loads the owner of each
    folder in JetStream's store at the start, and removes those that are empty.
    """
    folder = files.make_folder(place.path / "store" / "jetstream" / account, 0o700)
    files.write_atomic(folder / "README", b"While this folder is here, nats-server loads its account before it listens.\n", 0o600)


async def _first_ready(supervisor: Supervisor, failed: asyncio.Event) -> None:
    """Ready, or the reason why not at once: a hub that cannot start must say so, not try for ever."""
    ready = asyncio.ensure_future(supervisor.ready(READY_SECONDS))
    waiting = asyncio.ensure_future(failed.wait())
    try:
        await asyncio.wait({ready, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done() and supervisor.last_problem:
            raise supervisor.last_problem
        await ready
    finally:
        ready.cancel()
        waiting.cancel()


def _write_configuration(place: HubFolder, options: HubOptions, keyring: Keyring) -> None:
    text = render(
        HubConf(
            name=options.name,
            listen=options.listen,
            client_port=options.client_port,
            leaf_port=options.leaf_port,
            ping_seconds=options.ping_seconds,
            store=place.path / "store",
            store_max_bytes=options.store_max_bytes,
            resolver=place.path / "accounts",
            log=place.log,
            ports=place.path / "ports",
            operator_jwt=keyring.operator_jwt(),
            system_account=keyring.account_public("SYS"),
            accounts=dict(keyring.account_jwts().values()),
        )
    )
    files.write_atomic(place.configuration, text.encode(), 0o600)


@contextlib.asynccontextmanager
async def _services(options: HubOptions, keyring: Keyring) -> AsyncIterator[runtime.Tasks]:
    """What runs beside nats-server; stateless, so it may run several times."""
    tasks = runtime.Tasks()
    keeper: PresenceKeeper | None = None

    async def came_back() -> None:
        if keeper:
            keeper.look_again()

    async with _connection(options, keyring, "hub") as hub, _connection(options, keyring, "sys", came_back) as system:
        for name in await streams.ensure(hub.jetstream(), options.store_max_bytes):
            log.info("made or changed the stream %s", name)
        keeper = PresenceKeeper(system, hub, keyring.account_public("FLEET"))
        await keeper.start()
        tasks.start("presence", keeper.write_events())
        tasks.start("reconcile presence", keeper.reconciliations())
        tasks.start("guard", keeper.guard())
        try:
            yield tasks
        finally:
            await tasks.close()


@contextlib.asynccontextmanager
async def _connection(options: HubOptions, keyring: Keyring, service: Service, came_back: Any = None) -> AsyncIterator[Client]:
    login = keyring.service_credentials(service)
    client = await connect(
        _client_url(options),
        what="reach the hub",
        name=f"edgeagent hub ({service})",
        inbox_prefix=f"_INBOX.{service}",
        jwt=creds.callbacks(login),
        on_reconnected=came_back,
    )
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
            await client.close()


@contextlib.asynccontextmanager
async def _running(place: HubFolder, service: Service) -> AsyncIterator[Client]:
    """A connection to the hub of this machine for a one-shot job."""
    options, keyring = place.options(), Keyring.load(place.path)
    try:
        async with _connection(options, keyring, service) as client:
            yield client
    except Unreachable as error:
        if error.what != "reach the hub":
            raise
        raise Unreachable(error.what, error.why, f"start it: `edgeagent hub up --dir {place.path}`") from None


async def add_device(place: HubFolder, device_id: str, groups: Sequence[str], target: Path) -> None:
    """Register a device and write its credentials to ``target``, which must not exist."""
    place.options()  # "there is no hub" is plainer than "there are no keys"
    login = Keyring.load(place.path).device_credentials(device_id, groups)
    if target.exists():
        raise Refused(f"write {target}", "there is such a file already", "move it away, or name another with --out")
    async with _running(place, "hub") as hub:
        # The file first: a device that is registered but has no credentials would be worse than a file that is not.
        files.write_atomic(target, login.format().encode(), 0o600)
        try:
            await register.add(hub, register.record_of(login, groups))
        except BaseException:
            target.unlink(missing_ok=True)
            raise


async def look(place: HubFolder) -> dict[str, Any]:
    """Everything `hub status` shows."""
    options = place.options()
    async with _running(place, "sys") as system, _running(place, "hub") as hub:
        answer = await request(system, "$SYS.REQ.SERVER.PING.VARZ", b"{}", what="ask the hub how it is")
        varz = json.loads(answer.data)["data"]
        found = [await _stream(hub, stream.name) for stream in streams.STREAMS]
        registered = [
            item async for item in direct.read_all(hub, "KV_edge_devices", subjects.kv("edge_devices", ">"), prefix="$JS.API")
        ]
    return {
        "pid": int(files.read_text(place.server_pid)),
        "urls": {"operators": _client_url(options), "devices": f"nats-leaf://{options.listen}:{options.leaf_port}"},
        "server": {
            "name": varz["server_name"],
            "version": varz["version"],
            "uptime_seconds": _seconds(varz["start"], varz["now"]),
            "connections": varz["connections"],
            "leafs": varz.get("leafnodes", 0),
            "memory_bytes": varz["mem"],
        },
        "devices": len(registered),
        "streams": found,
    }


def _seconds(start: str, now: str) -> float:
    return round((parse_rfc3339(now) - parse_rfc3339(start)).total_seconds(), 1)


async def _stream(hub: Client, name: str) -> dict[str, Any]:
    answer = await request(hub, f"$JS.API.STREAM.INFO.{name}", what=f"look at the stream {name}")
    info = json.loads(answer.data)
    if "error" in info:
        return {"id": name, "messages": 0, "used": 0, "limit": 0, "full": 0.0, "problem": info["error"].get("description")}
    used, limit = info["state"]["bytes"], info["config"]["max_bytes"]
    return {"id": name, "messages": info["state"]["messages"], "used": used, "limit": limit, "full": round(used / limit, 4)}
