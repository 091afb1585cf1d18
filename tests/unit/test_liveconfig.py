"""Settings that count at once: each has an effect, which comes when its value is another and not otherwise.

What each effect is, is seen on a running agent: tests/live/test_config_keys.py.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from edgeagent import config
from edgeagent.assembly import liveconfig
from edgeagent.assembly.liveconfig import EFFECTS, LiveSettings
from edgeagent.config import KEYS, Layer, Value
from edgeagent.patterns.appconfig import AppConfig
from edgeagent.ratelimit import RateLimits
from edgeagent.runtime import Tasks
from edgeagent.schema import AgentSettings, DeviceSettings
from edgeagent.settings import Settings
from tests.support.servers import until

OWN = Settings(device=DeviceSettings(labels={"site": "berlin"}), agent=AgentSettings(heartbeat_seconds=7))
LIVE = sorted(name for name, key in KEYS.items() if key.live)
#: A change of the profile has the effects of the defaults that are others then.
PROFILE = "agent.profile"
#: Another value than that of ``OWN`` for each of them.
OTHERS: dict[str, Any] = {
    "device.labels": {"rack": "7"},
    "hub.urls": ["tls://hub.example:7422"],
    "hub.renew_retry_seconds": 0.5,
    "agent.heartbeat_seconds": 5,
    "agent.facts_seconds": 6,
    "agent.documents_seconds": 8,
    "agent.micro": False,
    "agent.log_level": "debug",
    "query.rate_per_second": 3,
    "query.burst": 4,
    "sampling.interval_seconds": 5,
    "sampling.flush_seconds": 5,
    "sampling.disabled": ["network"],
    "sampling.processes": ["chromium"],
    "forward.seconds": 5,
    "forward.bytes_per_second": 5,
    "alert": {"hot": "hw.temperature > 80"},
}


class Leaf:
    """Takes what is published, as nats-py's client does."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Any]] = []

    async def publish(self, subject: str, data: bytes) -> None:
        self.published.append((subject, json.loads(data)))


class Parts:
    """What every change is told, and what some effects are on."""

    def __init__(self) -> None:
        self.leaf, self.tasks, self.limits = Leaf(), Tasks(), RateLimits(0.001, 1)
        client: Any = self.leaf
        self.app_config = AppConfig(client)
        self.mcus = self
        self.told: Mapping[str, Value] = {}

    def set_configuration(self, values: Mapping[str, Value]) -> None:
        """As the microcontrollers take it."""
        self.told = values


@pytest_asyncio.fixture
async def parts() -> AsyncIterator[Parts]:
    made = Parts()
    yield made
    await made.tasks.close()


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Settings]]:
    """Notes each effect in place of what it does."""
    noted: list[tuple[str, Settings]] = []

    def note(name: str, parts: Any, wanted: Settings) -> None:
        noted.append((name, wanted))

    monkeypatch.setattr(liveconfig, "EFFECTS", {name: partial(note, name) for name in EFFECTS})
    return noted


def live(parts: Any) -> LiveSettings:
    return LiveSettings(parts, OWN, OWN)


def values(*layers: dict[str, Any]) -> dict[str, Value]:
    return config.merged([config.defaults(), config.of_settings(OWN), *(Layer("fleet", layer) for layer in layers)])


def test_every_live_key_has_an_effect_and_no_other_one() -> None:
    assert sorted(EFFECTS) == LIVE == sorted([*OTHERS, PROFILE])


@pytest.mark.parametrize("name", OTHERS)
async def test_another_value_has_the_effect_of_its_key_once(parts: Parts, done: list[tuple[str, Settings]], name: str) -> None:
    settings = live(parts)
    settings.take(values())
    assert done == []
    table = config.nested({name: OTHERS[name]})
    settings.take(values(table))
    settings.take(values({name.split(".")[0]: {}}, table))
    assert [key for key, _ in done] == [name], "the same again is nothing new"
    found = KEYS[name].of(done[0][1])
    assert found == {**OWN.device.labels, **OTHERS[name]} if name == "device.labels" else found == OTHERS[name]
    settings.take(values())
    assert [key for key, _ in done] == [name, name] and done[1][1] == OWN, "what agent.toml says counts again"


async def test_a_value_that_cannot_be_leaves_what_was(parts: Parts, done: list[tuple[str, Settings]]) -> None:
    live(parts).take({"agent.heartbeat_seconds": Value(0, "fleet"), "query.burst": Value("x", "fleet")})
    assert done == []


async def test_programs_are_told_of_their_tables(parts: Parts) -> None:
    live(parts).take(values({"app": {"doors": {"x": 1}}}, {"app": {"doors": {"y": 2}}}))
    await until(lambda: parts.leaf.published == [("local.config.doors", {"x": 1, "y": 2})], "it is told")


async def test_microcontrollers_are_told_of_what_there_is(parts: Parts) -> None:
    live(parts).take(found := values({"mcu": {"oven": {"interval": 5}}}))
    assert parts.told is found and found["mcu.oven.interval"].value == 5


async def test_the_log_level(parts: Parts) -> None:
    root = logging.getLogger()
    before = root.level
    try:
        settings = live(parts)
        settings.take(values({"agent": {"log_level": "debug"}}))
        assert root.level == logging.DEBUG
        settings.take(values())
        assert root.level == logging.INFO
    finally:
        root.setLevel(before)


async def test_the_limits_of_queries(parts: Parts) -> None:
    assert [parts.limits.allow("olga") for _ in range(2)] == [True, False]
    live(parts).take(values({"query": {"rate_per_second": 0.001, "burst": 3}}))
    assert [parts.limits.allow("olga") for _ in range(4)] == [True, True, True, False]
