"""What the doctor says of the hub's store: each thing goes red with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.assembly import doctorstore, hubmake, storefindings
from edgeagent.assembly.storefindings import Fill
from edgeagent.errors import UsageProblem
from edgeagent.hub.folder import HubFolder, HubOptions, suggested_store_bytes
from edgeagent.hub.storestate import ServerStore
from edgeagent.hub.streams import MIN_STORE_BYTES
from edgeagent.leaf.storelimit import Disk
from tests.support.fleet import cli
from tests.support.home import own_home
from tests.support.smalldisk import SmallDisk, small_disk

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with own_home(tmp_path / "home"), small_disk(tmp_path / "disk", 320) as disk:
        yield disk


async def test_a_disk_that_others_fill(disk: SmallDisk) -> None:
    place, options = HubFolder(disk.path / "hub"), HubOptions(name="berlin", store_max_bytes=MIN_STORE_BYTES)
    assert hubmake.check_room(place, options.store_max_bytes) == ""
    hubmake.make(place, options, "olga", passphrase=None)
    assert [each.good for check in (doctorstore.disk, doctorstore.limits) for each in await check(place, options)] == [True] * 2

    (disk.path / "film").write_bytes(bytes(150 * MIB))
    [said] = await doctorstore.limits(place, options)
    assert said.level == "warn" and "others have the rest" in said.text and "make room" in said.remedy
    assert "There is little room" in hubmake.check_room(HubFolder(disk.path / "second"), options.store_max_bytes)

    disk.fill()
    [said] = await doctorstore.disk(place, options)
    assert said.level == "wrong" and "it is full" in said.text and "free some space" in said.remedy


async def test_limits_that_the_disk_can_never_hold(disk: SmallDisk) -> None:
    place, options = HubFolder(disk.path / "hub"), HubOptions(name="berlin", store_max_bytes=512 * MIB)
    with pytest.raises(UsageProblem, match=r"more than 80% of the disk.*--store-bytes [0-9]+ is the most that fits"):
        hubmake.check_room(place, options.store_max_bytes)
    hubmake.make(place, options, "olga", passphrase=None)  # as hub.toml can be edited later
    [said] = await doctorstore.limits(place, options)
    assert said.level == "wrong" and "it will run full" in said.text
    most = int(said.remedy.partition(" to ")[2].split()[0])
    [said] = await doctorstore.limits(place, HubOptions(name="berlin", store_max_bytes=most))
    assert said.good, "what the remedy says helps"


def test_hub_init_says_so_before_it_writes_anything(disk: SmallDisk) -> None:
    said = cli("hub", "init", "--dir", str(disk.path / "hub"), "--store-bytes", str(512 * MIB), "--no-passphrase")
    assert said.code == 2 and "more than 80% of the disk" in said.err and "--store-bytes" in said.err
    assert list(disk.path.iterdir()) == []
    (disk.path / "film").write_bytes(bytes(150 * MIB))
    said = cli("hub", "init", "--dir", str(disk.path / "hub"), "--store-bytes", str(MIN_STORE_BYTES), "--no-passphrase")
    assert said.code == 0 and "There is little room" in said.err


def test_several_servers_on_one_disk_count_together(disk: SmallDisk) -> None:
    with pytest.raises(UsageProblem, match="Choose a larger disk"):
        hubmake.check_room(HubFolder(disk.path / "hub"), MIN_STORE_BYTES, 3)
    assert suggested_store_bytes(disk.path, 3) == MIN_STORE_BYTES


def test_servers_that_store_nothing() -> None:
    assert [each.good for each in storefindings.takes([ServerStore("hub")])] == [True]
    bad = ServerStore("hub-2", dead={"EDGE_METRICS": "no space left on device"})
    [said] = storefindings.takes([bad])
    assert said.level == "wrong" and "hub-2 stores nothing: EDGE_METRICS: no space left" in said.text
    full = "write /srv/hub/store/{}/1.blk: no space left on device"
    [said] = storefindings.takes([ServerStore("hub-2", dead={f"S{number}": full.format(number) for number in range(9)})])
    assert said.text == "hub-2 stores nothing: S0, S1, S2 and 6 more: no space left on device"
    [said] = storefindings.takes([ServerStore("hub-1"), bad, ServerStore("hub-3")], 3)
    assert said.level == "warn" and "hub-2 stores nothing" in said.text and "free some space" in said.remedy


def test_a_disk_that_is_nearly_full() -> None:
    assert storefindings.disk(Disk(1000 * MIB, 500 * MIB)).good
    said = storefindings.disk(Disk(1000 * MIB, 30 * MIB))
    assert said.level == "warn" and "free some space" in said.remedy


def test_streams_that_fill() -> None:
    [said] = storefindings.fill([Fill("EDGE_COMMANDS", 10, 100), Fill("EDGE_METRICS", 50, 100)])
    assert said.good and "EDGE_METRICS has 50%" in said.text
    [said] = storefindings.fill([Fill("EDGE_COMMANDS", 81, 100)])
    assert said.level == "warn" and "raise `store_max_bytes`" in said.remedy
    [said] = storefindings.fill([Fill("KV_edge_config", 96, 100)])
    assert said.level == "wrong" and "hardly anything more" in said.text
    said, _ = storefindings.fill([Fill("EDGE_METRICS", 99, 100, 7)])
    assert said.good and "the oldest go, 7 until now" in said.text, "it is meant to be so"
