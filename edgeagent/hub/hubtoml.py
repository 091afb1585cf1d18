"""``hub.toml`` as it is written when a hub is made. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from edgeagent.hub.cluster import ALONE, Cluster
from edgeagent.hub.exportsettings import MetricsOptions

__all__ = ["render"]

#: What ``hub.toml`` says of its other sections when it is made.
_MORE = (
    "# What the hub gives to others has sections of its own: [metrics] (for Prometheus, on 127.0.0.1:9464 unless told otherwise),",
    "# [remote_write], [influx] and [notify]: docs/monitoring.md, docs/settings.md.",
)


def render(options: msgspec.Struct, cluster: Cluster = ALONE, metrics: str = MetricsOptions().listen) -> str:
    """The text. options: of the section ``[hub]``. metrics: where Prometheus finds this server's."""
    lines = ["# The hub's options; restart `edgeagent hub up` and `hub serve` after a change.", "[hub]", *_lines(options)]
    if cluster != ALONE:
        lines += [
            "",
            "# One of the hub's servers: docs/cluster.md. The lists are the same on each.",
            "[cluster]",
            *_lines(cluster),
        ]
    if metrics != MetricsOptions().listen:
        lines += ["", "[metrics]", f"listen = {msgspec.json.encode(metrics).decode()}"]
    return "\n".join([*lines, "", *_MORE, ""])


def _lines(section: msgspec.Struct) -> Iterator[str]:
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        yield f"{field.name} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return msgspec.json.encode(value).decode()  # JSON's numbers and strings are TOML's too
