from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeagent import places


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's settings file, elsewhere."""
    path = tmp_path / "etc" / "agent.toml"
    monkeypatch.setattr(places, "SYSTEM_SETTINGS", path)
    monkeypatch.setattr(places, "SYSTEM_STATE", tmp_path / "var")
    return path


def as_user(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: number)


def test_the_environment_names_the_settings(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAGENT_SETTINGS", "/my/agent.toml")
    assert places.settings_file() == Path("/my/agent.toml")


@pytest.mark.parametrize(
    ("user", "there", "is_system"), [(0, False, True), (0, True, True), (1000, True, True), (1000, False, False)]
)
def test_whose_settings(system: Path, monkeypatch: pytest.MonkeyPatch, user: int, there: bool, is_system: bool) -> None:
    as_user(monkeypatch, user)
    if there:
        system.parent.mkdir()
        system.touch()
    own = Path(os.environ["XDG_CONFIG_HOME"]) / "edgeagent" / "agent.toml"
    assert places.settings_file() == (system if is_system else own)


def test_a_user_without_settings_means_the_systems_agent_that_was_enrolled(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 1000)
    places.SYSTEM_STATE.mkdir()
    assert places.settings_file() == system
    own = Path(os.environ["XDG_CONFIG_HOME"]) / "edgeagent" / "agent.toml"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.touch()
    assert places.settings_file() == own
    own.unlink()


def test_where_one_may_not_look_there_may_be_something(tmp_path: Path) -> None:
    too_long = tmp_path / ("a" * 300)  # ENAMETOOLONG stands in for EACCES, which root never gets
    assert places.is_there(too_long)
    assert places.is_there(tmp_path) and not places.is_there(tmp_path / "a")


def test_state_and_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert places.state_folder(system=True) == Path("/var/lib/edgeagent")
    assert places.runtime_folder(system=True) == Path("/run/edgeagent")
    assert places.state_folder(system=False) == tmp_path / "state" / "edgeagent"
    assert places.runtime_folder(system=False) == tmp_path / "edgeagent"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    assert places.runtime_folder(system=False) == tmp_path / "state" / "edgeagent" / "run"


def test_the_hubs_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 0)
    assert not places.hub_folder().is_relative_to(places.SYSTEM_STATE), "the agent's user could put another in its place"
    unit = (Path(__file__).parents[2] / "systemd/edgeagent-hub.service").read_text()
    assert f"--dir {places.hub_folder()}\n" in unit
    as_user(monkeypatch, 1000)
    assert places.hub_folder() == Path(os.environ["XDG_STATE_HOME"]) / "edgeagent" / "hub"
    monkeypatch.setenv("EDGEAGENT_HUB_DIR", "/srv/hub")
    assert places.hub_folder() == Path("/srv/hub")


def test_an_operators_folders() -> None:
    assert places.contexts_folder() == Path(os.environ["XDG_CONFIG_HOME"]) / "edgeagent" / "contexts"
    assert places.owners_folder() == Path(os.environ["XDG_CONFIG_HOME"]) / "edgeagent" / "owners"
    assert places.operator_cache_folder() == Path(os.environ["XDG_CACHE_HOME"]) / "edgeagent"
