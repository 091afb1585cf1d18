"""What `edgeagent hub doctor` says of what the hub gives to others: the sections of hub.toml beside ``[hub]``."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator
from pathlib import Path

from edgeagent import files
from edgeagent.assembly import hubscrape
from edgeagent.assembly.findings import Finding
from edgeagent.assembly.hubexports import missing
from edgeagent.errors import EdgeError
from edgeagent.hub import sinkspost
from edgeagent.hub.address import is_loopback
from edgeagent.hub.exportsettings import Exports
from edgeagent.hub.folder import HubFolder, HubOptions

__all__ = ["given_out", "is_up", "offered", "secrets"]


async def given_out(place: HubFolder, options: HubOptions) -> list[Finding]:
    """What is asked for, and whether the packages for it are there."""
    exports = place.exports()
    wanted = list(_wanted(exports))
    if not wanted:
        return [Finding("good", "given out    nothing")]
    if without := missing():
        return [Finding("warn", f"given out    {', '.join(wanted)}: not possible yet", without)]
    listen = exports.metrics.listen
    if listen and not is_loopback(exports.metrics.address[0]):
        text = f"given out    everybody who reaches {listen} can read what devices measure"
        return [Finding("warn", text, "keep [metrics] listen on 127.0.0.1, or a firewall before it")]
    return [Finding("good", f"given out    {', '.join(wanted)}")]


def _wanted(exports: Exports) -> Iterator[str]:
    if exports.metrics.listen:
        yield f"/metrics at {exports.metrics.listen}"
    if exports.remote_write.url:
        yield "remote write"
    if exports.influx.url:
        yield "InfluxDB"
    if exports.notify.webhooks:
        yield f"webhooks ({', '.join(exports.notify.webhooks)})"


async def offered(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether /metrics is this hub's, while its services run: another program may have the port."""
    metrics = place.exports().metrics
    if not metrics.listen or missing() or not await asyncio.to_thread(is_up, place):
        return []
    found, own = await hubscrape.asked(metrics.address), hubscrape.labels_of(place)
    where = f"metrics      http://{metrics.listen}/metrics"
    if found is None:
        remedy = "`edgeagent hub up` offers it a moment after its start; what it logs says why not"
        return [Finding("warn", f"{where}: nothing answers there", remedy)]
    if found.get("account") != own["account"]:
        whose = f"another hub, {found['hub'][:63]!r}, answers there" if found.get("hub") else "another program answers there"
        remedy = f"set `listen` in [metrics] of {place.options_file} to a free port, and start the hub again"
        return [Finding("wrong", f"{where}: {whose}, and this hub is not offered", remedy)]
    return [Finding("good", f"{where} answers")]


def is_up(place: HubFolder) -> bool:
    """Whether the process that wrote its number into the lock is there still."""
    pid = (files.read_if_there(place.lock) or b"").decode("ascii", "replace").strip()
    return pid.isdigit() and Path("/proc", pid).exists()


async def secrets(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether the files with tokens and passwords can be used, and only by the hub."""
    found = []
    for name in sorted(_files(place.exports())):
        path = place.named(name)
        try:
            sinkspost.secret(place.path, name)
            if stat.S_IMODE(path.stat().st_mode) & 0o007:
                found.append(Finding("wrong", f"secrets      everybody can read {path}", f"`chmod o= {path}`"))
        except EdgeError as error:
            found.append(Finding("wrong", f"secrets      {error.what}: {error.why}", error.remedy))
    return found


def _files(exports: Exports) -> set[str]:
    tables = (exports.remote_write, exports.influx, *exports.notify.webhooks.values())
    keys = ("password_file", "token_file", "url_file")
    return {getattr(table, key) for table in tables for key in keys if getattr(table, key, "")}
