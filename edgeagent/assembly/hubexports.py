"""What the hub gives to others, put together: ``/metrics``, samples written elsewhere, and webhooks, as hub.toml asks for them.

None of it may keep the hub from its work: what cannot be done is said, and everything else goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime, timezone
from importlib.util import find_spec
from typing import TYPE_CHECKING

from edgeagent.backoff import delays
from edgeagent.errors import Closed, EdgeError, Failed
from edgeagent.hub import register, streams
from edgeagent.hub.bucket import PREFIX
from edgeagent.hub.exporterfollow import SampleFollower
from edgeagent.hub.exportervalues import NewestValues
from edgeagent.hub.exportsettings import Exports
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.notify import Receiver
from edgeagent.hub.notifypresence import PresenceTeller
from edgeagent.hub.sinks import Influx, RemoteWrite, Sink
from edgeagent.hub.sinksdelivery import Target
from edgeagent.link import Client
from edgeagent.patience import asked
from edgeagent.runtime import Tasks, jittered
from edgeagent.trust import websockets

if TYPE_CHECKING:
    from prometheus_client import Metric

    from edgeagent.assembly.hubdevices import DeviceStates
    from edgeagent.hub.exporterfamilies import Fill

__all__ = ["HubExports", "missing"]

log = logging.getLogger("edgeagent.hub")

#: How often to look how full the streams are and when certificates end, in seconds.
LOOK_SECONDS = 30.0
#: Pause before what could not begin is tried again, in seconds.
AGAIN_SECONDS = 5.0
#: Bounds of the pause before a task that failed begins anew, in seconds.
ANEW_SECONDS = (5.0, 300.0)
_PACKAGES = ("aiohttp", "prometheus_client", "cramjam")


def missing() -> str:
    """The remedy if a package is missing that all of this needs; empty: they are there."""
    websockets.load()  # a program of ours puts aiohttp off
    names = [name for name in _PACKAGES if find_spec(name) is None]
    return f"{', '.join(names)}: not installed; `pip install 'edgeagent[hub]'`" if names else ""


class HubExports:
    """hub: a connection to the account HUB, for nothing else: devices fill it."""

    def __init__(self, place: HubFolder, options: HubOptions, exports: Exports, hub: Client) -> None:
        self._place, self._options, self._exports, self._hub = place, options, exports, hub
        self._values = self._wanted_values()
        self._samples = SampleFollower(hub, self._values, time.time)
        self._devices: DeviceStates | None = None
        self._sinks = [Sink(hub, target, time.time, place.troubles) for target in self._targets()]
        self._receivers = [
            Receiver(hub, name, webhook, place.path, place.troubles) for name, webhook in exports.notify.webhooks.items()
        ]
        self._fills: list[Fill] = []
        self._ends: dict[str, datetime] = {}
        self._about: dict[str, str] = {}

    def _wanted_values(self) -> NewestValues | None:
        wanted = self._exports.metrics
        if not wanted.samples:
            return None
        return NewestValues(
            series_per_device=wanted.series_per_device, series=wanted.series, current_seconds=wanted.current_seconds
        )

    def _targets(self) -> Iterator[Target]:
        if self._exports.remote_write.url:
            yield RemoteWrite(self._exports.remote_write, self._place.path)
        if self._exports.influx.url:
            yield Influx(self._exports.influx, self._place.path)

    def start(self, tasks: Tasks) -> None:
        """Begin; it goes on by itself in ``tasks``."""
        wanted = bool(self._exports.metrics.listen or self._sinks or self._receivers)
        if wanted and (without := missing()):
            log.warning("nothing is offered at /metrics and nothing is sent to others: %s", without)
            return
        for sink in self._sinks:
            tasks.start(sink.name, _guarded(sink.name, sink.run))
        if self._receivers:
            tasks.start("notify", _until_closed(self._notify(tasks)))
        if self._exports.metrics.listen:
            tasks.start("metrics", _until_closed(self._offer(tasks)))

    async def _notify(self, tasks: Tasks) -> None:
        teller = PresenceTeller(self._hub, self._exports.notify)
        await _patiently([receiver.start for receiver in self._receivers])
        await _patiently([teller.start])
        for receiver in self._receivers:
            tasks.start(f"notify {receiver.name}", _guarded(f"notify {receiver.name}", receiver.run))
        await _guarded("notify", teller.run)

    async def _offer(self, tasks: Tasks) -> None:
        from edgeagent.assembly.hubdevices import DeviceStates
        from edgeagent.hub.exporter import Exporter

        self._devices = DeviceStates(self._hub)
        await _patiently([self._samples.start, self._devices.start, self._read_samples, self._look])
        tasks.start("metrics: look", _guarded("metrics: look", self._looks))
        tasks.start("metrics: devices", _guarded("metrics: devices", self._devices.run))
        await _guarded("metrics", Exporter(self._exports.metrics.address, self._families).run)

    async def _read_samples(self) -> None:
        await self._samples.read(await register.every(self._hub))

    async def _looks(self) -> None:
        while True:
            await asyncio.sleep(jittered(LOOK_SECONDS))
            try:
                await self._look()
            except EdgeError as error:
                log.debug("%s", error)

    async def _look(self) -> None:
        """What is not told by itself. Raises EdgeError."""
        from edgeagent.assembly import hubends, hubscrape

        self._about = self._about or hubscrape.labels_of(self._place)
        for sink in self._sinks:
            await sink.look()
        self._fills = [await _fill(self._hub, stream.name) for stream in streams.STREAMS]
        self._ends = hubends.ends(self._place, self._options)
        if self._values is not None:
            self._values.expire(time.time())
        if self._devices is not None:
            self._samples.forget(set(self._devices.roster.devices))

    def _families(self) -> Iterator[Metric]:
        """All of ``/metrics``; asks nobody."""
        from edgeagent.assembly.hubdevices import device_families
        from edgeagent.assembly.hubscrape import INFO
        from edgeagent.hub import exporterfamilies as families

        now = datetime.now(timezone.utc)
        yield families.gauge(INFO, "1; which hub this is, by its name and the public key of its account.", [(self._about, 1.0)])
        if self._devices is not None:
            yield from _alone(device_families(self._devices, now))
        yield from _alone(self._forwarding())
        yield from _alone(families.fills(self._fills))
        yield from _alone(families.tallies({sink.name: sink.tally for sink in self._sinks}))
        yield from _alone(self._own(now))
        if self._values is not None:
            yield from _alone(families.sample_families(self._values.current(now.timestamp())))

    def _own(self, now: datetime) -> Iterator[Metric]:
        from edgeagent.hub import exporterfamilies as families

        days = [({"what": what}, (ends - now).total_seconds() / 86_400) for what, ends in self._ends.items()]
        yield families.gauge("edgeagent_hub_certificate_days_left", "Days until a certificate of the hub ends.", days)
        told = [
            ({"webhook": receiver.name, "outcome": outcome}, count)
            for receiver in self._receivers
            for outcome, count in list(receiver.outcomes.items())
        ]
        yield families.counter("edgeagent_hub_notifications_total", "What was told by webhook, by what became of it.", told)
        failing = [({"to": sink.name}, sink.trouble.seconds()) for sink in self._sinks]
        failing += [({"to": f"webhook {receiver.name}"}, receiver.trouble.seconds()) for receiver in self._receivers]
        text = "For how long nothing could be sent to somebody, 0: it works."
        yield families.gauge("edgeagent_hub_sending_fails_seconds", text, failing)

    def _forwarding(self) -> Iterator[Metric]:
        from edgeagent.hub import exporterfamilies as families

        rows = [({"device": device}, of) for device, of in list(self._samples.forwarding.items())]
        text = "Messages of samples that its programs and collectors stored, and that came to the hub."
        forwarded = [(label, of.forwarded) for label, of in rows]
        yield families.counter("edgeagent_device_metrics_forwarded_total", text, forwarded)
        text = "The same that never will, by cause."
        dropped = [({**label, "cause": cause}, count) for label, of in rows for cause, count in of.dropped.items()]
        yield families.counter("edgeagent_device_metrics_dropped_total", text, dropped)
        text = "The same that were stored before the device's newest chunk and have not come yet."
        yield families.gauge("edgeagent_device_metrics_waiting", text, [(label, of.waiting) for label, of in rows])
        left_out = Counter(self._values.left_out if self._values is not None else {})
        left_out.update(unreadable=self._samples.unreadable, flood=self._samples.flood)
        text = "Samples that are not shown here, by reason; chunks, where it is unreadable, too_many or flood."
        reasons = [({"reason": reason}, count) for reason, count in left_out.items()]
        yield families.counter("edgeagent_hub_samples_left_out_total", text, reasons)


def _alone(part: Iterator[Metric]) -> Iterator[Metric]:
    """Its families, as far as it comes: what nobody thought of in one part leaves all others as they are."""
    try:
        yield from part
    except Exception:  # see above
        log.exception("a part of /metrics is left out")


async def _fill(hub: Client, stream: str) -> Fill:
    from edgeagent.hub.exporterfamilies import Fill

    what = f"look at the stream {stream}"
    info = json.loads((await asked(hub, f"{PREFIX}.STREAM.INFO.{stream}", what=what)).data)
    if "error" in info:
        raise Failed(what, str(info["error"].get("description")))
    return Fill(stream, info["state"]["bytes"], info["config"].get("max_bytes", -1), info["state"]["messages"])


async def _patiently(works: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Each in its turn, again until it worked."""
    for work in works:
        while True:
            try:
                await work()
                break
            except Closed:
                raise
            except Exception as error:  # see _guarded
                log.log(logging.DEBUG if isinstance(error, EdgeError) else logging.ERROR, "%r", error)
                await asyncio.sleep(AGAIN_SECONDS)


async def _guarded(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do what runs for ever. Whatever it fails of, it begins anew, and everything else that the hub does goes on.

    Returns when the connection has ended for good, as :func:`_until_closed`.
    """
    for pause in delays(*ANEW_SECONDS):
        try:
            await work()
        except Closed:
            return
        except Exception:  # what nobody thought of; what was thought of is handled where it comes from
            log.exception("%s failed, and begins anew", name)
        await asyncio.sleep(pause)


async def _until_closed(work: Awaitable[None]) -> None:
    """Do it, quietly to the end of the connection: whose that is hears of it with the server's reason, which we have not."""
    with contextlib.suppress(Closed):
        await work
