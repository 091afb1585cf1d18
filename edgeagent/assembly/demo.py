"""The demo from start to end: machines, cables, story; then it stays up until Ctrl-C, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from edgeagent import context, files, runtime
from edgeagent.demo import control, greenhouse, story
from edgeagent.demo.fleet import DemoFleet, end_leftovers
from edgeagent.demo.layout import DemoFolder, devices
from edgeagent.errors import Closed

__all__ = ["run"]

_GOODBYE = """\

The demo stays up until Ctrl-C. In another terminal, try:

  {edgeagent} fleet ls -l site=berlin -o wide
  {edgeagent} fleet query 'memory.utilization < 0.9' --select memory.utilization,uptime_seconds
  {edgeagent} fleet ping
  {edgeagent} fleet watch
  {edgeagent} config set -d pi-01 agent.log_level=debug      (then `config effective pi-01`, `config history -d pi-01`)
  {edgeagent} exec --all --yes -- /bin/echo hello      (then `cmd ls`, `audit`)
  {edgeagent} metrics ls      (then `metrics show pi-01 system.cpu.utilization --plot`)
  {edgeagent} demo put pi-01 doors open=3 side=north      (as `put` on a device; then `metrics ls -d pi-01 --metric doors.*`)
  {edgeagent} mcu ls --all      (then `mcu send pi-01/greenhouse led on=1`, `metrics show pi-01 mcu.temperature --plot`)
  {edgeagent} demo cut pi-02      (then `fleet ls`; then `demo restore pi-02`)
  {edgeagent} status --settings {folder}/devices/pi-01/agent.toml
"""


async def run(count: int, folder: Path | None, *, leave: bool) -> None:
    """Run the demo.

    count: how many devices. folder: where to keep everything; None: a temporary folder that is removed at the end.
    leave: end after the story instead of staying up.
    """
    stop = runtime.stop_on_signals()
    logging.basicConfig(level="ERROR", format="%(message)s")
    logging.getLogger("nats").setLevel(logging.CRITICAL)
    await _clean_up_after_a_killed_one()
    with _folder(folder) as path:
        fleet = DemoFleet(DemoFolder(path), devices(count, mcu=greenhouse.ID))

        async def handle(request: dict[str, Any]) -> str:
            return await _work_cable(fleet, request)

        async with control.offer(path, handle):
            try:
                if await _unless(stop, _begin(fleet)) and not leave:
                    typer.echo(_GOODBYE.format(edgeagent=_program(), folder=path))
                    typer.echo(_scrape(fleet.metrics_url), nl=False)
                    await stop.wait()
            finally:
                with contextlib.suppress(OSError):  # also when nobody reads any more: `edgeagent demo --exit | head`
                    typer.echo("\nending the demo ...")
                await asyncio.shield(fleet.close())


def _scrape(url: str) -> str:
    return f"For Prometheus: {url}\n" if url else ""


async def _clean_up_after_a_killed_one() -> None:
    killed = control.noted()
    if killed is not None and control.find() is None:
        await end_leftovers(Path(killed.folder))
        if killed.before in context.names():
            context.use(killed.before)


async def _begin(fleet: DemoFleet) -> None:
    typer.echo(f"starting a hub and {len(fleet.devices)} devices in {fleet.folder.path} ...")
    await fleet.start()
    await story.tell(fleet)


async def _unless(stop: asyncio.Event, work: Any) -> bool:
    """Do ``work``; False when ``stop`` came first."""
    doing, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (doing, stopping):
        task.cancel()
    await asyncio.gather(doing, stopping, return_exceptions=True)
    if doing.cancelled():
        return False
    doing.result()
    return True


@contextlib.contextmanager
def _folder(named: Path | None) -> Iterator[Path]:
    if named is not None:
        yield files.make_folder(named.absolute(), 0o700)
        return
    path = Path(tempfile.mkdtemp(prefix="edgeagent-demo-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


async def _work_cable(fleet: DemoFleet, request: dict[str, Any]) -> str:
    device = str(request.get("id"))
    cable = fleet.cable(device)
    if request.get("do") == "settings":
        return str(fleet.folder.settings(device))
    if request.get("do") == "restore":
        await cable.restore()
        return f"the cable of {device} is plugged in"
    if request.get("do") == "cut":
        await cable.cut(silent=bool(request.get("silent")))
        return f"the cable of {device} is pulled" + (": bytes vanish without a word" if request.get("silent") else "")
    raise Closed("work the demo", f"it does not know {request.get('do')!r}")


def _program() -> str:
    """How the reader can call us: by name if the name is on PATH, else by path."""
    beside = Path(sys.executable).parent / "edgeagent"
    if shutil.which("edgeagent") or not beside.exists():
        return "edgeagent"
    with contextlib.suppress(ValueError):
        return str(beside.relative_to(Path.cwd()))
    return str(beside)
