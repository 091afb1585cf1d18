"""nats-server as a :class:`~edgeagent.natsserver.process.Launch`, and its reload."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from edgeagent.errors import Failed, Refused
from edgeagent.natsserver import logtail, ports
from edgeagent.natsserver.failures import explain_nats_server
from edgeagent.natsserver.process import LOOK_SECONDS, Child, Launch

__all__ = ["launch", "reload"]


def launch(
    binary: Path,
    config: Path,
    *,
    name: str,
    log: Path,
    ports_folder: Path | None = None,
    port: int | None = None,
    environment: Mapping[str, str] | None = None,
    ready_seconds: float = 300.0,
    replace: bool = False,
) -> Launch:
    """How to run ``binary`` with ``config``.

    log, ports_folder, port: ``logfile``, ``ports_file_dir`` and port of that configuration, where it has them. With a port it is known to
    be ready also on a full disk, where it can write neither.
    ready_seconds: a large store on a slow card takes minutes to be read before the port opens.
    """

    def is_ready(child: Child) -> bool:
        if ports_folder is not None and ports.read(ports_folder, child.pid) is not None:
            return True
        # What it said before we took it over is not new. The port for clients is the last one that it opens.
        return "Server is ready" in child.new_text() or (port is not None and ports.listens(child.pid, port))

    return Launch(
        name=name,
        argv=(str(binary), "-c", str(config)),
        output=config.with_suffix(".out"),
        log=log,
        pid_file=config.with_suffix(".pid"),
        environment=environment or {},
        ready=is_ready,
        ready_seconds=ready_seconds,
        explain=lambda text, status: explain_nats_server(text, status, str(config)),
        replace=replace,
    )


async def reload(child: Child, timeout: float = 10.0) -> None:
    """Make nats-server read its configuration again, and wait for its word that it did.

    Raises Refused when it will not without a restart (it goes on with the old one), Failed when it says nothing within ``timeout``
    seconds or ends.
    """
    log = child.launch.log_file
    position = logtail.end(log)
    child.reload()
    deadline = asyncio.get_running_loop().time() + timeout
    while asyncio.get_running_loop().time() < deadline and not child.has_ended:
        text = logtail.since(log, position)
        if "Reloaded server configuration" in text:
            return
        _, failed, reason = text.partition("Failed to reload server configuration: ")
        if failed and "\n" in reason:
            raise Refused(f"reload {child.launch.name}", reason.splitlines()[0], "restart it")
        await asyncio.sleep(LOOK_SECONDS)
    raise Failed(f"reload {child.launch.name}", f"no word from it within {timeout:g} s", "restart it")
