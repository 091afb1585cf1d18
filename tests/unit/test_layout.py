from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeagent import settings
from edgeagent.demo.layout import QUICK, SHIPPED, DemoDevice, DemoFolder, devices, with_ports_of
from edgeagent.schema import AgentSettings, LeafSettings


def test_devices_differ_in_what_filters_can_tell_apart() -> None:
    made = devices(6)
    assert [device.id for device in made] == ["pi-01", "pi-02", "pi-03", "pi-04", "pi-05", "pi-06"]
    assert [device.groups for device in made[:3]] == [("berlin", "kitchen"), ("munich", "office"), ("hamburg", "kitchen")]
    assert [device.labels.get("floor") for device in made] == ["1", None, "3", "0", None, "2"]
    assert {device.labels["site"] for device in made} == {"berlin", "munich", "hamburg"}


def test_the_ids_of_many_sort_and_are_all_different() -> None:
    ids = [device.id for device in devices(99)]
    assert ids == sorted(set(ids)) and len(ids) == 99


@pytest.mark.parametrize("pace", [QUICK, SHIPPED])
def test_the_settings_of_each_device_are_good(tmp_path: Path, pace: object) -> None:
    folder = DemoFolder(tmp_path)
    for device in [*devices(3), DemoDevice(id="pi-99", groups=(), labels={"site": 'a "b" \\ küche'})]:
        path = folder.settings(device.id)
        path.parent.mkdir(parents=True)
        path.write_text(folder.settings_text(device, leaf_port=4001, cable_port=4002, pace=pace))  # type: ignore[arg-type]  # a Pace
        found = settings.load(path)
        assert (found.device.id, found.device.labels) == (device.id, device.labels)
        assert found.hub.urls == ["nats-leaf://127.0.0.1:4002"] and found.leaf.port == 4001
        assert found.state_folder == found.runtime_folder == folder.device(device.id)


def test_what_somebody_changed_stays_and_only_ports_are_new(tmp_path: Path) -> None:
    folder, device = DemoFolder(tmp_path), devices(1)[0]
    made = folder.settings_text(device, leaf_port=4001, cable_port=4002)
    kept = re.sub(r"(?m)^allow = .*ping.*$", 'allow = ["*"]', made) + "# port = 5\n"
    fresh = folder.settings_text(device, leaf_port=5001, cable_port=5002)
    path = tmp_path / "agent.toml"
    path.write_text(with_ports_of(kept, fresh))
    found = settings.load(path)
    assert found.hub.urls == ["nats-leaf://127.0.0.1:5002"] and found.leaf.port == 5001
    assert found.commands.allow == ["*"] and path.read_text().endswith("# port = 5\n")
    assert with_ports_of(fresh, fresh) == fresh


def test_the_shipped_pace_is_what_ships() -> None:
    assert SHIPPED.heartbeat_seconds == AgentSettings().heartbeat_seconds
    assert SHIPPED.ping_seconds == LeafSettings().ping_seconds
    assert QUICK.heartbeat_seconds < SHIPPED.heartbeat_seconds
