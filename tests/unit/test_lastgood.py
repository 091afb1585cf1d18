"""The last known good configuration on the disk: read back as it was kept, damaged, and its writer killed at every step."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from edgeagent.config import Value
from edgeagent.errors import EdgeError, Failed
from edgeagent.lastgood import FILE, Kept, effective, load, save
from edgeagent.schema import AgentSettings
from edgeagent.settings import Settings
from tests.support.powercut import killed_at

OWN = Settings(agent=AgentSettings(heartbeat_seconds=7))


def kept(generation: int = 5, **values: Any) -> Kept:
    return Kept(
        generation=generation, at=generation // 1000, signer="olga", digest=f"{generation:064x}", values=values, note="why: é\n"
    )


def test_what_was_kept_is_read_back(tmp_path: Path) -> None:
    assert load(tmp_path) == {}
    documents = {
        "fleet.all": kept(1, agent={"micro": False}),
        "group.berlin": kept(2, app={"doors": {"open": ["07:00", 1.5, {"x": True}], "é": "ü"}}),
        "device.pi-1": kept(1_800_000_000_000),
    }
    save(tmp_path, documents)
    assert load(tmp_path) == documents
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    first = (tmp_path / FILE).read_bytes()
    save(tmp_path, dict(reversed(documents.items())))
    assert (tmp_path / FILE).read_bytes() == first, "the same documents are the same bytes"


def test_what_another_version_added_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(
        '{"documents": {"fleet.all": {"generation": 1, "at": 1, "signer": "o", "digest": "d", "mood": "good"}}, "v": 2, "x": []}'
    )
    assert load(tmp_path) == {"fleet.all": Kept(generation=1, at=1, signer="o", digest="d")}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\0" * 4096,
        b"\xff",
        b"[]",
        b'{"documents": []}',
        b'{"documents": {"fleet.all": {}}}',
        b'{"documents": {"fleet.all": {"generation": "1", "at": 1, "signer": "o", "digest": "d"}}}',
        b'{"documents": {"fleet.all": {"generation": 1, "at": 1, "signer": "o", "digest": "d", "values": ' + b'{"a":' * 50_000,
    ],
    ids=range(9),
)
def test_a_damaged_file_is_said_with_the_remedy(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(Failed, match=r"cannot read .*config\.json: .*Remove it; the agent reads its configuration"):
        load(tmp_path)


def test_every_cut_of_the_file_is_damage_and_none_half_a_configuration(tmp_path: Path) -> None:
    save(tmp_path, {"fleet.all": kept(1, agent={"micro": False}), "device.pi-1": kept(2)})
    whole = (tmp_path / FILE).read_bytes()
    for length in range(len(whole) - 2):  # the last two: the closing brace and a line break
        (tmp_path / FILE).write_bytes(whole[:length])
        with pytest.raises(Failed):
            load(tmp_path)


def test_what_stands_in_its_place_stops_nothing_else(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(EdgeError, match="it is a folder"):
        load(tmp_path)
    with pytest.raises(EdgeError, match="cannot write"):
        save(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == [FILE], "nothing is left behind"


@pytest.mark.parametrize("before", [{}, {"fleet.all": kept(1, app={"a": {"x": 1}})}], ids=["first", "next"])
def test_killed_at_every_step_of_writing(tmp_path: Path, before: dict[str, Kept]) -> None:
    after = {"fleet.all": kept(2, app={"a": {"x": "y" * 20_000}}), "device.pi-1": kept(3)}
    step, seen = 1, []
    while True:
        folder = tmp_path / f"{step}"
        folder.mkdir()
        if before:
            save(folder, before)
        if not killed_at(step, lambda: save(folder, after)):  # noqa: B023  # called at once
            break
        found = load(folder)
        assert found in (before, after), "never neither"
        seen.append(found == after)
        save(folder, {"group.berlin": kept(4)})  # whatever was left behind is not in the way
        assert load(folder) == {"group.berlin": kept(4)}
        step += 1
    assert load(folder) == after
    assert seen == sorted(seen) and {*seen} == {False, True} and step > 12, "first the old one, from one step on the new one"


def test_it_is_on_the_disk_before_it_is_in_its_place_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut, unlike a kill, takes what the kernel has not written yet."""
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noted_replace(path: Path, target: Path) -> Path:
        calls.append("replace")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    save(tmp_path, {"fleet.all": kept()})
    assert calls == ["file", "replace", "folder"]


# ---- the layers --------------------------------------------------------------------------------------------------------------

LAYERS = {
    "fleet.all": kept(
        1, agent={"heartbeat_seconds": 10, "facts_seconds": 10}, app={"a": {"x": "fleet", "y": "fleet", "z": "fleet"}}
    ),
    "group.berlin": kept(2, app={"a": {"x": "berlin", "y": "berlin"}}),
    "group.kitchen": kept(3, app={"a": {"x": "kitchen", "w": [1]}}),
    "device.pi-1": kept(4, agent={"heartbeat_seconds": 40}),
    "device.pi-2": kept(5, agent={"heartbeat_seconds": 50}),
}


def values(*groups: str, documents: dict[str, Kept] = LAYERS) -> dict[str, Value]:
    return effective(OWN, "pi-1", groups, documents)


def test_later_layers_go_before_earlier_ones_in_the_order_of_the_groups() -> None:
    both = values("berlin", "kitchen")
    assert both["agent.heartbeat_seconds"] == Value(40, "device.pi-1") and both["agent.facts_seconds"] == Value(10, "fleet.all")
    assert both["app.a.x"] == Value("kitchen", "group.kitchen") and both["app.a.y"] == Value("berlin", "group.berlin")
    assert both["app.a.z"] == Value("fleet", "fleet.all") and both["query.burst"] == Value(100, "default")
    assert values("kitchen", "berlin")["app.a.x"] == Value("berlin", "group.berlin")


def test_groups_that_were_left_and_other_devices_do_not_count() -> None:
    alone = values("kitchen")
    assert alone["app.a.y"] == Value("fleet", "fleet.all") and alone["app.a.x"] == Value("kitchen", "group.kitchen")
    assert "app.a.w" not in values("berlin")


def test_what_agent_toml_says_counts_where_no_document_does() -> None:
    assert values(documents={})["agent.heartbeat_seconds"] == Value(7, "agent.toml")


def test_names_that_are_not_known_are_no_values() -> None:
    found = values(documents={"fleet.all": kept(1, tomorrow={"x": 1}, hub={"proxy": "http://thief:1"}, agent={"mood": 1})})
    assert not [name for name, value in found.items() if value.layer == "fleet.all"]
