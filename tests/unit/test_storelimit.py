"""How large the store may be: what is left of the disk over a floor, decided once."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.leaf.storelimit import FILE, MIN_BYTES, Disk, choose, claimed, decide, disk_of, used_bytes

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("wished", "floor", "disk", "used", "limit", "is_too_little"),
    [
        pytest.param(512 * MIB, 256 * MIB, Disk(32 * GIB, 20 * GIB), 0, 512 * MIB, False, id="room for all of it"),
        pytest.param(512 * MIB, 256 * MIB, Disk(8 * GIB, 356 * MIB), 0, 100 * MIB, False, id="the floor is kept"),
        pytest.param(512 * MIB, 256 * MIB, Disk(8 * GIB, 356 * MIB), 50 * MIB, 150 * MIB, False, id="what it has counts as free"),
        pytest.param(512 * MIB, 256 * MIB, Disk(1000 * MIB, 300 * MIB), 0, 200 * MIB, False, id="a tenth of a small card"),
        pytest.param(512 * MIB, 256 * MIB, Disk(8 * GIB, 256 * MIB), 0, MIN_BYTES, True, id="no room"),
        pytest.param(
            8 * MIB, 256 * MIB, Disk(8 * GIB, 262 * MIB), 0, 8 * MIB, True, id="less room than the little that is wished"
        ),
        pytest.param(8 * MIB, 0, Disk(8 * GIB, 8 * MIB), 0, 8 * MIB, False, id="just that little"),
    ],
)
def test_the_limit(wished: int, floor: int, disk: Disk, used: int, limit: int, is_too_little: bool) -> None:
    found = decide(wished, floor, disk, used)
    assert (found.limit_bytes, found.is_too_little) == (limit, is_too_little)


def test_it_is_decided_once_and_again_when_the_settings_or_the_disk_are_others(tmp_path: Path) -> None:
    free = disk_of(tmp_path).free
    first = choose(tmp_path, free * 2, 0)
    (tmp_path / "another's").write_bytes(bytes(MIB))
    assert choose(tmp_path, free * 2, 0) == first, "the disk has less room now"
    assert choose(tmp_path, MIB, 0).limit_bytes == MIB
    kept = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(kept.replace(f'"disk_bytes":{disk_of(tmp_path).size}', '"disk_bytes":1'))
    assert choose(tmp_path, MIB, 0).disk_bytes == disk_of(tmp_path).size


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"limit_bytes":"much"}'])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: str) -> None:
    (tmp_path / FILE).write_text(damage)
    assert choose(tmp_path, MIB, 0).limit_bytes == MIB
    assert choose(tmp_path, MIB, 0) == choose(tmp_path, MIB, 0)


def test_too_little_is_looked_at_again_at_each_start(tmp_path: Path) -> None:
    free = disk_of(tmp_path)
    short = decide(64 * MIB, 0, Disk(free.size, 0), 0)
    (tmp_path / FILE).write_text(
        f'{{"limit_bytes":{short.limit_bytes},"wished_bytes":{64 * MIB},"floor_bytes":0,"disk_bytes":{free.size},"is_too_little":true}}'
    )
    assert choose(tmp_path, 64 * MIB, 0).limit_bytes == 64 * MIB


def test_what_files_take_and_streams_were_promised(tmp_path: Path) -> None:
    for name, text in (("A", '{"max_bytes":1000}'), ("B", '{"max_bytes":-1}'), ("C", "{"), ("D", '{"max_bytes":24}')):
        folder = tmp_path / "jetstream" / "EDGE" / "streams" / name
        folder.mkdir(parents=True)
        (folder / "meta.inf").write_text(text)
    assert claimed(tmp_path, "EDGE") == 1024 and claimed(tmp_path / "none", "EDGE") == 0 == claimed(tmp_path, "MQTT")
    (tmp_path / "large").write_bytes(b"x" * MIB)
    assert used_bytes(tmp_path) >= MIB
