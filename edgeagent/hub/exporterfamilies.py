"""What ``/metrics`` shows, as prometheus_client's families. Pure: numbers in, families out; loaded only where prometheus_client is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import Metric

from edgeagent.hub.exporternames import Labels, Series
from edgeagent.hub.exportervalues import Value
from edgeagent.hub.serverstates import ServerState
from edgeagent.hub.sinkstally import Tally

__all__ = ["Fill", "counter", "fills", "gauge", "health", "sample_families", "tallies"]

_TOTAL = "_total"
_Values = Iterable[tuple[Mapping[str, str], float]]


class Fill(NamedTuple):
    """How full a stream is. limit: bytes, -1 for none."""

    stream: str
    used: int
    limit: int
    messages: int


def gauge(name: str, text: str, values: _Values) -> Metric:
    """values: labels and number of each."""
    family = Metric(name, text, "gauge")
    for labels, value in values:
        family.add_sample(name, dict(labels), value)
    return family


def counter(name: str, text: str, values: _Values) -> Metric:
    """name: ends with ``_total``."""
    family = Metric(name.removesuffix(_TOTAL), text, "counter")
    for labels, value in values:
        family.add_sample(name, dict(labels), value)
    return family


def sample_families(values: Iterable[tuple[Series, Value]]) -> Iterator[Metric]:
    """The devices' own samples. Two that come under one name and labels are one: the newer."""
    families: dict[str, dict[Labels, Value]] = {}
    counters: set[str] = set()
    for series, value in values:
        table = families.setdefault(series.name, {})
        if series.labels not in table or table[series.labels].time_ms <= value.time_ms:
            table[series.labels] = value
        if series.counter and series.name.endswith(_TOTAL):
            counters.add(series.name)
    for name in sorted(families):
        make = counter if name in counters else gauge
        yield make(name, "Measured by devices.", [(dict(labels), value.value) for labels, value in families[name].items()])


def fills(found: Iterable[Fill]) -> Iterator[Metric]:
    """How full the hub's streams are."""
    rows = [({"stream": fill.stream}, fill) for fill in found]
    yield gauge("edgeagent_hub_stream_bytes", "What a stream of the hub holds.", [(label, fill.used) for label, fill in rows])
    limited = [(label, fill.limit) for label, fill in rows if fill.limit > 0]
    yield gauge("edgeagent_hub_stream_limit_bytes", "The most that it may hold.", limited)
    yield gauge("edgeagent_hub_stream_messages", "Messages that it holds.", [(label, fill.messages) for label, fill in rows])


def tallies(found: Mapping[str, Tally]) -> Iterator[Metric]:
    """What became of the samples that are written to others, by sink."""
    rows = [({"sink": name}, tally) for name, tally in found.items()]
    yield counter("edgeagent_hub_sink_samples_total", "Samples that were taken.", [(label, tally.sent) for label, tally in rows])
    dropped = [({**label, "reason": reason}, count) for label, tally in rows for reason, count in list(tally.dropped.items())]
    yield counter("edgeagent_hub_sink_dropped_total", "Samples that were not, and never will be, by reason.", dropped)
    retries = [(label, tally.retries) for label, tally in rows]
    yield counter("edgeagent_hub_sink_retries_total", "Requests that had to be made again.", retries)
    pending = [(label, tally.pending) for label, tally in rows]
    yield gauge("edgeagent_hub_sink_pending_messages", "Chunks of samples that wait to be written.", pending)


def health(is_healthy: bool, servers: Iterable[ServerState], happened: Mapping[str, int]) -> Iterator[Metric]:
    """How the hub and its servers are. happened: by the kind of event that is made of it."""
    yield gauge("edgeagent_hub_healthy", "Whether `/healthz` says that all is well.", [({}, float(is_healthy))])
    rows = [({"server": server.name}, server) for server in servers]
    yield gauge("edgeagent_hub_server_leafs", "Devices that are linked to a server.", [(label, of.leafs) for label, of in rows])
    stored = [(label, of.store_bytes) for label, of in rows]
    yield gauge("edgeagent_hub_server_store_bytes", "What JetStream has on a server's disk.", stored)
    limits = [(label, of.store_limit) for label, of in rows]
    yield gauge("edgeagent_hub_server_store_limit_bytes", "The most that it may have.", limits)
    text = "Connections that read too slowly, since the server started."
    yield counter("edgeagent_hub_slow_consumers_total", text, [(label, of.slow) for label, of in rows])
    text = "What nats-server says of trouble, by the kind of event, as far as this instance heard of it."
    yield counter("edgeagent_hub_alarms_total", text, [({"kind": kind}, count) for kind, count in list(happened.items())])
