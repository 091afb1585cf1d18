"""What samples are called in Prometheus, and that no device can break or fake anything with a name."""

from __future__ import annotations

import re

import pytest

from edgeagent.hub.exporternames import labels_of, name_of, series_of
from edgeagent.sample import Sample

NAMES = {
    "unit": ("system.memory.usage", "By", "", "system_memory_usage_bytes"),
    "ratio": ("system.cpu.utilization", "1", "", "system_cpu_utilization_ratio"),
    "counter": ("system.network.io", "By", "counter", "system_network_io_bytes_total"),
    "counter-of-things": ("system.processes.created", "{process}", "counter", "system_processes_created_total"),
    "one-counter": ("edge.restarts", "1", "counter", "edge_restarts_total"),
    "said-already": ("requests.total", "", "counter", "requests_total"),
    "unit-said-already": ("uptime.seconds", "s", "", "uptime_seconds"),
    "per": ("disk.rate", "By/s", "", "disk_rate_bytes_per_second"),
    "temperature": ("hw.temperature", "Cel", "", "hw_temperature_celsius"),
    "unknown-unit": ("flow", "m3/fortnight", "", "flow_m3_per_fortnight"),
    "odd-characters": ("a-b/c..d__e", "", "", "a_b_c_d_e"),
    "digit-first": ("_1st", "", "", "_1st"),
    "nothing-left": ("_", "", "", "sample"),
    "like-the-hubs": ("edgeagent.device.up", "", "", "reported_edgeagent_device_up"),
    "like-prometheus": ("up", "", "", "reported_up"),
    "like-alerts": ("ALERTS", "", "", "reported_ALERTS"),
    "not-quite": ("upload", "", "", "upload"),
}


@pytest.mark.parametrize(("metric", "unit", "kind", "name"), NAMES.values(), ids=NAMES.keys())
def test_names(metric: str, unit: str, kind: str, name: str) -> None:
    assert name_of(metric, unit, kind) == name
    assert re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", name)


def test_no_unit_makes_a_name_that_prometheus_refuses() -> None:
    for unit in ('"} 1\n', "{", "}{", "////", "\x00", "é/é", " " * 50):
        assert re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", name_of("a", unit, "counter")), unit


def test_a_device_cannot_speak_for_another() -> None:
    labels = dict(
        labels_of("pi-01", "app", {"device": "pi-02", "source": "agent", "job": "x", "__name__": "up", "9": "n", "é": "1"})
    )
    assert labels["device"] == "pi-01" and labels["source"] == "app" and labels["exported_device"] == "pi-02"
    assert labels["exported_job"] == "x" and labels["key_name__"] == "up" and labels["key_9"] == "n"
    assert all(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) and not name.startswith("__") for name in labels)


def test_attributes_that_become_one_label_are_joined_and_empty_ones_are_none() -> None:
    labels = labels_of("pi-01", "app", {"a.b": "1", "a_b": "2", "empty": ""})
    assert labels == (("a_b", "1;2"), ("device", "pi-01"), ("source", "app"))


def test_a_series_is_its_name_and_labels() -> None:
    one = series_of("pi-01", "agent", Sample("a.b", 1, {"x": "1", "y": "2"}, unit="By"))
    two = series_of("pi-01", "agent", Sample("a-b", 2, {"y": "2", "x": "1"}, unit="By"))
    assert one == two and one.name == "a_b_bytes" and not one.counter
