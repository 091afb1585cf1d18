"""How it stands with what the hub sends to others: `edgeagent hub status` and `edgeagent hub doctor`, from another process than theirs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from edgeagent import subjects
from edgeagent.assembly.findings import Finding
from edgeagent.assembly.hublogin import sign_in
from edgeagent.errors import EdgeError
from edgeagent.hub import notify, sinks
from edgeagent.hub.exportsettings import Exports
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.notifyledger import STREAM
from edgeagent.hub.sinksconsumer import waiting_for
from edgeagent.hub.sinkstrouble import noted
from edgeagent.link import Client
from edgeagent.times import rfc3339

__all__ = ["look", "sending"]


def _consumers(exports: Exports) -> Iterator[tuple[str, str, str]]:
    """To whom, the stream, and who reads it."""
    if exports.remote_write.url:
        yield sinks.RemoteWrite.name, subjects.METRICS, sinks.consumer_of(sinks.RemoteWrite.name)
    if exports.influx.url:
        yield sinks.Influx.name, subjects.METRICS, sinks.consumer_of(sinks.Influx.name)
    for name in exports.notify.webhooks:
        yield f"webhook {name}", STREAM, notify.consumer_of(name)


async def look(place: HubFolder, hub: Client) -> list[dict[str, Any]]:
    """Of each: ``id``, ``waiting`` messages (None: its services have not begun), ``problem`` (empty: none) and ``since``, RFC 3339.

    What went wrong with nothing to send any more may be mended by now, so it is no problem. Raises EdgeError.
    """
    found = []
    for who, stream, consumer in _consumers(place.exports()):
        waiting = await waiting_for(hub, stream, consumer)
        bad = noted(place.troubles / consumer) if waiting else None
        since = rfc3339(datetime.fromtimestamp(bad.since, timezone.utc)) if bad else ""
        found.append({"id": who, "waiting": waiting, "problem": bad.problem if bad else "", "since": since})
    return found


async def sending(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether everybody to whom the hub sends takes it. Nothing when nobody answers: another check says so."""
    if not any(_consumers(place.exports())):
        return []
    try:
        hub = await sign_in(place, Keyring.load(place.path), "hub")
    except EdgeError:
        return []
    try:
        return [_finding(each) for each in await look(place, hub)]
    finally:
        with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
            await hub.close()


def _finding(each: dict[str, Any]) -> Finding:
    text = f"sending      {each['id']}: "
    if each["waiting"] is None:
        return Finding("warn", f"{text}not begun", "it is in hub.toml: start the hub's services again")
    if not each["problem"]:
        return Finding("good", f"{text}{each['waiting']} waiting")
    text += f"nothing is taken since {each['since']}, {each['waiting']} waiting: {each['problem']}"
    return Finding(
        "wrong", text, "mend the address, the login or the server: nothing is lost meanwhile, and it goes on by itself"
    )
