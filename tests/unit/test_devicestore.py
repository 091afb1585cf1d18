"""What the leaf is told of its store: the limit, but never less than its streams were promised."""

from __future__ import annotations

from pathlib import Path

from edgeagent.assembly.devicestore import limit_of, store_bytes
from edgeagent.leafsettings import LeafSettings
from edgeagent.schema import PathSettings
from edgeagent.settings import Settings

MIB = 1 << 20


def settings(folder: Path, mib: int) -> Settings:
    return Settings(leaf=LeafSettings(store_max_bytes=mib * MIB), paths=PathSettings(state=str(folder)))


def test_a_store_that_becomes_smaller_keeps_room_for_its_streams_until_they_are(tmp_path: Path) -> None:
    meta = tmp_path / "js" / "jetstream" / "EDGE" / "streams" / "LOCAL_METRIC" / "meta.inf"
    meta.parent.mkdir(parents=True)
    meta.write_text(f'{{"max_bytes":{90 * MIB}}}')
    small = settings(tmp_path, 20)
    assert (limit_of(small).limit_bytes, store_bytes(small)) == (20 * MIB, 90 * MIB)
    meta.write_text(f'{{"max_bytes":{18 * MIB}}}')
    assert store_bytes(small) == 20 * MIB and store_bytes(settings(tmp_path, 40)) == 40 * MIB
