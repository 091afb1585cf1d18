"""The metered profile: its defaults lie below all that anybody sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeagent import config, lastgood, profiles, settings
from edgeagent.config import KEYS, Layer, Value
from edgeagent.lastgood import Kept
from edgeagent.settings import Settings

OTHERS = {name: key.metered for name, key in KEYS.items() if key.metered is not None}
METERED = {"agent": {"profile": "metered"}}


def effective(text: str, fleet: dict[str, Any] | None = None) -> dict[str, Value]:
    own = settings.parse(text, Path("agent.toml"))
    documents = {"fleet.all": Kept(generation=1, at=1, signer="olga", digest="", values=fleet)} if fleet else {}
    return lastgood.effective(own, "pi-01", [], documents)


def test_it_has_other_defaults_for_what_costs_bytes() -> None:
    assert set(OTHERS) == {
        *("sampling.interval_seconds", "sampling.flush_seconds", "forward.seconds", "leaf.ping_seconds"),
        *("agent.heartbeat_seconds", "agent.facts_seconds", "agent.documents_seconds"),
    }
    assert config.impossible({name: Value(value, "x") for name, value in OTHERS.items()}) == []


@pytest.mark.parametrize("where", ["agent.toml", "hub"])
def test_who_chooses_it_gets_its_defaults(where: str) -> None:
    found = effective('[agent]\nprofile = "metered"\n') if where == "agent.toml" else effective("", METERED)
    assert {name: found[name] for name in OTHERS} == {name: Value(value, profiles.METERED) for name, value in OTHERS.items()}
    assert config.with_config(Settings(), found).agent.heartbeat_seconds == OTHERS["agent.heartbeat_seconds"]


def test_without_it_nothing_changes() -> None:
    assert {value.layer for value in effective("").values()} == {config.DEFAULT}


def test_what_is_set_goes_before_it_even_if_it_is_the_usual_default() -> None:
    text = "[agent]\nheartbeat_seconds = 60\n[sampling]\ninterval_seconds = 20\n"
    found = effective(text, {**METERED, "forward": {"seconds": 60}})
    assert found["agent.heartbeat_seconds"] == Value(60.0, config.AGENT_TOML)
    assert found["sampling.interval_seconds"] == Value(20.0, config.AGENT_TOML)
    assert found["forward.seconds"] == Value(60, "fleet.all")
    assert found["agent.facts_seconds"] == Value(OTHERS["agent.facts_seconds"], profiles.METERED)


def test_the_hub_leaves_an_external_leaf_alone_with_it() -> None:
    external = '[leaf]\nmode = "external"\n'
    assert effective(external, METERED)["leaf.ping_seconds"].layer == config.DEFAULT
    assert effective(f'{external}[agent]\nprofile = "metered"\n')["leaf.ping_seconds"].layer == profiles.METERED


def test_the_last_layer_decides() -> None:
    layers = [config.defaults(), Layer("a", METERED), Layer("b", {"agent": {"profile": "normal"}})]
    assert profiles.merged(layers) == config.merged(layers)
