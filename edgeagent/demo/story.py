"""The demo's story: the table, a filter, a pulled cable, what still works behind it, what it catches up with when it is back."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import subprocess
import sys
import time
from collections.abc import Callable

import nats.errors
import typer

from edgeagent import status
from edgeagent.cel.process import engine_path
from edgeagent.demo.fleet import DemoFleet
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.fleet import Fleet, Outcome, State
from edgeagent.link import connect, request, settle
from edgeagent.settings import load

__all__ = ["tell", "until"]

#: A step that takes longer than this has failed, in seconds; on a slow machine many processes start at once.
PATIENCE_SECONDS = 60.0


async def tell(fleet: DemoFleet) -> None:
    """Go through the story. Raises Failed when a step does not show what it should."""
    ids = [device.id for device in fleet.devices]
    _say(f"A hub and {len(ids)} devices run on this machine, each device with its own nats-server and agent.")
    await until("all devices are online", lambda outcome: _online(outcome) == ids)
    await _command("edgeagent fleet ls")
    site = fleet.devices[0].labels["site"]
    await _command(_question(site))
    if len(ids) > 1:
        await _cable(fleet, ids[1])


def _question(site: str) -> str:
    """A filter by label, or by group where this Python has no engine for filters."""
    try:
        engine_path()
    except Refused:
        return f"edgeagent fleet get memory.utilization kernel -g {site}"
    return f"edgeagent fleet query 'labels.site == \"{site}\" && cpu.count > 0' --select memory.utilization,kernel"


async def _cable(fleet: DemoFleet, victim: str) -> None:
    others = [device.id for device in fleet.devices if device.id != victim]
    _say(f"Now the cable of {victim} is pulled.")
    await fleet.cable(victim).cut()
    await until(f"{victim} is offline", lambda outcome: _online(outcome) == others and _offline(outcome) == [victim])
    await _command("edgeagent fleet ls")
    said = await _local_work(fleet, victim)
    _say(f"{victim} is cut off, and a program on it still works with its leaf: {said}")
    _say("It is configured meanwhile: a program on it, doors, shall open at seven.")
    await _command(f"edgeagent config set -d {victim} app.doors.open=07:00")
    _say("And it is told to do something, together with the others. They have done it; it does not know yet.")
    await _command("edgeagent exec --all --yes --detach -- /bin/echo done")
    _say("The cable is plugged in again.")
    await fleet.cable(victim).restore()
    await until(f"{victim} is back", lambda outcome: victim in _online(outcome))
    await _command("edgeagent fleet ls")
    await _command(f"edgeagent config status -d {victim} --wait")
    await _command(f"edgeagent cmd show {await _newest_command()} --wait")


async def _newest_command() -> str:
    async with Fleet() as fleet:
        return (await fleet.commands.recent(1))[0].id


async def until(what: str, true: Callable[[Outcome], bool], patience: float = PATIENCE_SECONDS) -> None:
    """Ask the fleet until ``true`` of its answer."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with contextlib.suppress(EdgeError):  # the hub itself may be the part that is away
            async with Fleet() as fleet:
                while time.monotonic() < deadline:
                    if true(await fleet.query(timeout=1.0)):
                        return
                    await asyncio.sleep(0.1)
        await asyncio.sleep(0.1)
    raise Failed("go on with the demo", f"{what!r} did not become true within {patience:g} s", "--dir keeps the logs")


def _online(outcome: Outcome) -> list[str]:
    return [row.id for row in outcome.answered]


def _offline(outcome: Outcome) -> list[str]:
    return [row.id for row in outcome.offline if row.state is State.OFFLINE]


async def _command(line: str) -> None:
    """Type a command for the reader, and show what it prints: the real command line in a process of its own."""
    typer.echo(f"\n$ {line}")
    words = [sys.executable, "-m", "edgeagent", *shlex.split(line)[1:]]
    done = await asyncio.to_thread(subprocess.run, words, check=False)
    if done.returncode != 0:
        raise Failed("go on with the demo", f"`{line}` ended with exit code {done.returncode}")


async def _local_work(fleet: DemoFleet, device_id: str) -> str:
    """Two programs on the cut-off device talk over its leaf, without any login."""
    settings = load(fleet.folder.settings(device_id))
    port = status.read(settings.status_file).leaf.port
    url = f"nats://127.0.0.1:{port}"
    sensor = await connect(url, what="reach the leaf", name="sensor", inbox_prefix="_INBOX.sensor", reconnect=False)
    display = await connect(url, what="reach the leaf", name="display", inbox_prefix="_INBOX.display", reconnect=False)
    try:

        async def answer(message: object) -> None:
            await message.respond(b"21.5")  # type: ignore[attr-defined]  # nats-py's message

        await sensor.subscribe("local.sensor.temperature", cb=answer)
        await settle(sensor, what="reach the leaf")
        message = await request(display, "local.sensor.temperature", what="ask the sensor")
        return f"asked local.sensor.temperature at 127.0.0.1:{port}, got {message.data.decode()}"
    finally:
        for client in (sensor, display):
            with contextlib.suppress(nats.errors.Error):
                await client.close()


def _say(text: str) -> None:
    typer.echo(f"\n== {text}")
    sys.stdout.flush()
