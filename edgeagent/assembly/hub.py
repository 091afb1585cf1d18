"""The hub from start to end, in which order: lock, nats-server, services. And the one-shot jobs on the hub's own machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from edgeagent import files, runtime, subjects, wire
from edgeagent.assembly import hubcluster, hubcurrent, hubsending, hubtls
from edgeagent.assembly.hublogin import sign_in
from edgeagent.assembly.hubserver import HubServer
from edgeagent.assembly.hubservices import HubServices
from edgeagent.errors import Refused, Unreachable, UsageProblem
from edgeagent.hub import loginfile, register, streams
from edgeagent.hub.address import addresses
from edgeagent.hub.cluster import server_name
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import DEVICE_SECONDS, Keyring, Service
from edgeagent.link import Client
from edgeagent.patience import asked

__all__ = ["add_device", "look", "renew_device", "run", "serve"]

log = logging.getLogger("edgeagent.hub")


async def run(place: HubFolder) -> None:
    """Be the hub until SIGTERM or SIGINT, which count during the start too. Raises what makes it impossible to go on."""
    runtime.set_up_logging("info")
    options, keyring = place.options(), Keyring.load(place.path)
    place.check_not_retired()
    stop, up = runtime.stop_on_signals(), asyncio.Event()
    with files.Lock(place.lock, f"run the hub in {place.path}"):
        life = asyncio.ensure_future(_live(place, options, keyring, up, stop))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({life, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if up.is_set():
                await asyncio.wait({life})  # it sees the signal itself
        finally:
            stopping.cancel()
            life.cancel()  # wherever its start is, its blocks end what they began
            await asyncio.gather(life, stopping, return_exceptions=True)
        if not life.cancelled():
            life.result()


async def serve(place: HubFolder) -> None:
    """Be one more instance of the hub's services until SIGTERM or SIGINT; nats-server is somebody else's. Raises as :func:`run`."""
    runtime.set_up_logging("info")
    options, keyring = place.options(), Keyring.load(place.path)
    stop = runtime.stop_on_signals()
    services = HubServices(place, options, keyring)
    async with contextlib.AsyncExitStack() as stack:
        if not await runtime.unless(stop, stack.enter_async_context(services)):
            return
        runtime.notify_systemd("READY=1")
        log.info("one more of the hub's services runs")
        await services.tasks.wait(stop)
        runtime.notify_systemd("STOPPING=1")


async def _live(place: HubFolder, options: HubOptions, keyring: Keyring, up: asyncio.Event, stop: asyncio.Event) -> None:
    async with HubServer(place, options, keyring) as server, _whole(place, keyring) as whole:
        services = HubServices(place, options, keyring, restart=server.restart)
        async with services:
            await _served(place, options, server, services, whole, up, stop)


@contextlib.asynccontextmanager
async def _whole(place: HubFolder, keyring: Keyring) -> AsyncIterator[asyncio.Task[None]]:
    """A task that ends when this server has all that the cluster's others have, and tells systemd, which may restart another then. Its own
    services may wait for other servers, and those for a person."""

    async def tell() -> None:
        if place.cluster().number:
            await hubcurrent.until_current(place, keyring)
            runtime.notify_systemd("READY=1")

    telling = asyncio.create_task(tell(), name="whole")
    try:
        yield telling
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _served(
    place: HubFolder,
    options: HubOptions,
    server: HubServer,
    services: HubServices,
    whole: asyncio.Task[None],
    up: asyncio.Event,
    stop: asyncio.Event,
) -> None:
    services.tasks.start("nats-server", server.until_hopeless())
    services.tasks.start("certificates", hubtls.keep(place, options, server.reload))
    services.tasks.start("say that it is up", _say_up(place, options, whole))
    up.set()
    await services.tasks.wait(stop)
    runtime.notify_systemd("STOPPING=1")


async def _say_up(place: HubFolder, options: HubOptions, whole: asyncio.Task[None]) -> None:
    await whole
    runtime.notify_systemd("READY=1")
    urls = addresses(options, place.cluster())
    log.info("the hub is up: operators at %s, devices at %s", urls.operators, urls.devices)


@contextlib.asynccontextmanager
async def _running(place: HubFolder, service: Service) -> AsyncIterator[Client]:
    """A connection to the hub of this machine for a one-shot job."""
    keyring = _keyring(place)
    try:
        client = await sign_in(place, keyring, service)
    except Unreachable as error:
        raise Unreachable(error.what, error.why, f"start it: `edgeagent hub up --dir {place.path}`") from None
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
            await client.close()


async def add_device(
    place: HubFolder,
    device_id: str,
    groups: Sequence[str],
    target: Path,
    *,
    expires_in_seconds: float | None = DEVICE_SECONDS,
) -> None:
    """Register a device and write its credentials to ``target``, which must not exist."""
    login = _keyring(place).device_credentials(device_id, groups, expires_in_seconds=expires_in_seconds)
    if target.exists():
        raise Refused(f"write {target}", "there is such a file already", "move it away, or name another with --out")
    async with _running(place, "hub") as hub:
        with loginfile.written(target, login):
            await register.add(hub, register.record_of(login, groups))


async def renew_device(
    place: HubFolder,
    device_id: str,
    groups: Sequence[str] | None,
    target: Path,
    *,
    expires_in_seconds: float | None = DEVICE_SECONDS,
) -> wire.DeviceRecord:
    """Give a registered device a new key and JWT, written to ``target``; what the register says of it now.

    groups: None keeps those that it has. target: may exist if it holds older credentials of the same device.
    The older ones stay good until they expire.
    """
    keyring, what = _keyring(place), f"renew {device_id}"
    async with _running(place, "hub") as hub:
        found = await register.find(hub, device_id) if subjects.is_id(device_id) else None
        if found is None:
            raise UsageProblem(what, "there is no such device", f"`edgeagent device add {device_id}` adds it")
        old, sequence = found
        if old.revoked:
            raise Refused(what, "it is revoked")
        groups = old.groups if groups is None else groups
        login = keyring.device_credentials(device_id, groups, expires_in_seconds=expires_in_seconds)
        record = register.renewed(old, login, groups)
        loginfile.check_replaceable(target, login)
        with loginfile.written(target, login):
            await register.replace(hub, record, sequence)
        return record


def _keyring(place: HubFolder) -> Keyring:
    place.options()  # "there is no hub" is plainer than "there are no keys"
    return Keyring.load(place.path)


async def look(place: HubFolder) -> dict[str, Any]:
    """Everything `hub status` shows."""
    urls, cluster = addresses(place.options(), place.cluster()), place.cluster()
    own = server_name(place.options().name, cluster)
    async with _running(place, "sys") as system, _running(place, "hub") as hub:
        servers = await hubcluster.look(system, cluster)
        varz = next((each for each in servers if each["id"] == own), servers[0])
        found = [await _stream(hub, stream.name) for stream in streams.STREAMS]
        registered = await register.every(hub)
        sent = await hubsending.look(place, hub)
    return {
        "pid": int(files.read_text(place.server_pid)) if varz["id"] == own else None,
        "urls": {"operators": urls.operators, "devices": urls.devices},
        "server": {
            "name": varz["id"],
            **{key: varz[key] for key in ("version", "uptime_seconds", "connections", "leafs", "memory_bytes")},
        },
        "servers": hubcluster.with_absent(servers, place.options().name, cluster),
        "devices": len(registered),
        "streams": found,
        "sending": sent,
    }


async def _stream(hub: Client, name: str) -> dict[str, Any]:
    answer = await asked(hub, f"$JS.API.STREAM.INFO.{name}", what=f"look at the stream {name}")
    info = json.loads(answer.data)
    leader = str((info.get("cluster") or {}).get("leader", ""))
    if "error" in info:
        return {
            "id": name,
            "messages": 0,
            "used": 0,
            "limit": 0,
            "full": 0.0,
            "leader": leader,
            "lag": 0,
            "problem": info["error"].get("description"),
        }
    used, limit = info["state"]["bytes"], info["config"]["max_bytes"]
    return {
        "id": name,
        "messages": info["state"]["messages"],
        "used": used,
        "limit": limit,
        "full": round(used / limit, 4),
        "leader": leader,
        "lag": _lag(info),
    }


def _lag(info: Any) -> int:
    """How many operations the copy that is furthest behind lacks."""
    return max((int(copy.get("lag", 0)) for copy in (info.get("cluster") or {}).get("replicas") or []), default=0)
