"""What each setting that configuration may change at once does in the running agent."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from edgeagent.assembly.devicelink import DeviceLink
from edgeagent.assembly.devicemcus import DeviceMcus
from edgeagent.assembly.devicemetrics import DeviceMetrics
from edgeagent.assembly.devicerecord import HubsWord
from edgeagent.assembly.renewer import Renewer
from edgeagent.config import KEYS, Value, with_config
from edgeagent.patterns.appconfig import AppConfig, tables_of
from edgeagent.patterns.micro import Micro
from edgeagent.patterns.report import Reporter
from edgeagent.ratelimit import RateLimits
from edgeagent.runtime import Tasks
from edgeagent.settings import Settings

__all__ = ["EFFECTS", "LiveSettings", "Parts"]


class Parts(Protocol):
    """The parts of an agent that a setting may be of. limits: of live queries."""

    reporter: Reporter
    limits: RateLimits
    micro: Micro
    word: HubsWord
    renewer: Renewer
    app_config: AppConfig
    metrics: DeviceMetrics
    mcus: DeviceMcus
    link: DeviceLink
    tasks: Tasks


def _intervals(parts: Parts, wanted: Settings) -> None:
    parts.reporter.set_intervals(heartbeat_seconds=wanted.agent.heartbeat_seconds, facts_seconds=wanted.agent.facts_seconds)


def _labels(parts: Parts, wanted: Settings) -> None:
    parts.word.set_settings(wanted)
    parts.reporter.facts_changed()


def _retry(parts: Parts, wanted: Settings) -> None:
    parts.renewer.retry_seconds = wanted.hub.renew_retry_seconds
    if parts.renewer.problem is not None:
        parts.renewer.wanted()  # the pause that it is in may be a day of the old ones


def _hub(parts: Parts, wanted: Settings) -> None:
    parts.link.hub_wanted(wanted.hub.urls)


def _documents(parts: Parts, wanted: Settings) -> None:
    parts.word.set_settings(wanted)


def _micro(parts: Parts, wanted: Settings) -> None:
    async def switch() -> None:
        with contextlib.suppress(Exception):  # the connection may be gone; the next one begins with what counts then
            await parts.micro.switch(on=wanted.agent.micro)

    parts.tasks.start("micro", switch())


def _log_level(parts: Parts, wanted: Settings) -> None:
    logging.getLogger().setLevel(wanted.agent.log_level.upper())


def _limits(parts: Parts, wanted: Settings) -> None:
    parts.limits.set(wanted.query.rate_per_second, wanted.query.burst)


def _profile(parts: Parts, wanted: Settings) -> None:
    """Each default that is another now has its own effect."""


def _metrics(parts: Parts, wanted: Settings) -> None:
    parts.metrics.set_settings(wanted)


#: One for each key that is live.
EFFECTS: dict[str, Callable[[Parts, Settings], None]] = {
    "device.labels": _labels,
    "hub.urls": _hub,
    "hub.renew_retry_seconds": _retry,
    "agent.profile": _profile,
    "agent.heartbeat_seconds": _intervals,
    "agent.facts_seconds": _intervals,
    "agent.documents_seconds": _documents,
    "agent.micro": _micro,
    "agent.log_level": _log_level,
    "query.rate_per_second": _limits,
    "query.burst": _limits,
    "sampling.interval_seconds": _metrics,
    "sampling.flush_seconds": _metrics,
    "sampling.disabled": _metrics,
    "sampling.processes": _metrics,
    "alert": _metrics,
    "forward.seconds": _metrics,
    "forward.bytes_per_second": _metrics,
}


class LiveSettings:
    """Has the configuration take effect in ``parts``.

    own: what agent.toml says. began: with what the agent began.
    """

    def __init__(self, parts: Parts, own: Settings, began: Settings) -> None:
        self._parts, self._own, self._now = parts, own, began

    def take(self, values: Mapping[str, Value]) -> None:
        """Do what is to be done for the keys whose values are others now."""
        before, self._now = self._now, with_config(self._own, values)
        for name, effect in EFFECTS.items():
            if KEYS[name].of(before) != KEYS[name].of(self._now):
                effect(self._parts, self._now)
        self._parts.tasks.start("app configuration", self._parts.app_config.set(tables_of(values)))
        self._parts.mcus.set_configuration(values)
