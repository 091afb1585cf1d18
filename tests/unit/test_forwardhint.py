"""What the forwarder remembers beside the hub: a file that may be missing, old or rubbish."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.chunk import Message, Progress
from edgeagent.patterns.forwardhint import Hint, load_hint, save_hint

PROGRESS = Progress(log=7, epoch=2, next=31, gaps=[(3, 9)], forwarded=21, dropped={"retention": 2}, edge=Message(30, 300))


def test_it_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "forward-metric.json"
    for progress in (PROGRESS, Progress(log=8)):
        save_hint(file, progress)
        assert load_hint(file) == progress and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[]", b'{"next": -1}', b'{"next": 1' + b"0" * 400 + b"}"],
    ids=["empty", "cut-off", "no-utf8", "list", "negative", "beyond"],
)
def test_rubbish_is_no_hint(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "forward-metric.json"
    assert load_hint(file) is None
    file.write_bytes(content)
    assert load_hint(file) is None


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    save_hint(tmp_path / "gone" / "forward-metric.json", PROGRESS)
    assert load_hint(tmp_path / "gone" / "forward-metric.json") is None


def test_what_another_hub_has_says_nothing_of_this_one(tmp_path: Path) -> None:
    file, hub = tmp_path / "forward-metric.json", ["tls://a:7422"]
    hint = Hint(file, lambda: hub[0])
    assert hint.of(PROGRESS) is PROGRESS
    hint.save(PROGRESS)
    assert Hint(file, lambda: hub[0]).load() == PROGRESS
    hub[0] = "tls://b:7422"
    assert hint.of(PROGRESS) is PROGRESS, "the link is still the one to the first"
    hint.came()
    assert hint.of(PROGRESS) is None and hint.of(PROGRESS) is PROGRESS, "then it is known of the second"
    assert Hint(file, lambda: hub[0]).load() is None
