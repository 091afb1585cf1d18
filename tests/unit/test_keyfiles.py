from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.errors import Failed, Refused
from edgeagent.hub import keyfiles


def test_a_folder_is_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "keys"
    keyfiles.write_new(folder, {"a": "1", "b": "2"})
    with pytest.raises(Refused, match="there are some already"):
        keyfiles.write_new(folder, {"a": "3"})
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "1\n", "b": "2\n"}
    assert [path.name for path in folder.parent.iterdir()] == ["keys"]


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failed, match="make keys"):
        keyfiles.write_new(tmp_path / "file" / "keys", {})
    with pytest.raises(Failed, match="make keys"):
        keyfiles.write_new(tmp_path / "hub" / "keys", {"a": "1", "no/such": "2"})
    assert list((tmp_path / "hub").iterdir()) == []


def test_only_what_differs_is_replaced(tmp_path: Path) -> None:
    keyfiles.write_new(tmp_path / "keys", {"a": "1", "b": "2"})
    before = (tmp_path / "keys" / "a").stat().st_ino
    assert keyfiles.replace(tmp_path / "keys", {"a": "1", "b": "3", "c": "4"}) == ["b", "c"]
    assert (tmp_path / "keys" / "a").stat().st_ino == before and (tmp_path / "keys" / "b").read_text() == "3\n"
    assert (tmp_path / "keys" / "c").stat().st_mode & 0o077 == 0
