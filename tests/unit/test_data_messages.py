"""Messages of devices' programs: patterns of topics, chunks that make no sense, and files whose names nobody chooses."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from edgeagent.chunk import Message, Progress, encode_data
from edgeagent.direct import Stored
from edgeagent.errors import Failed, UsageProblem
from edgeagent.fleet.data import DataMessage, Topics, messages
from edgeagent.fleet.datafiles import DataFolder, folder_name
from edgeagent.fleet.leftout import LeftOut

NOW = datetime(2026, 11, 21, 10, tzinfo=timezone.utc)
NOW_MS = int(NOW.timestamp() * 1000)


@pytest.mark.parametrize(
    ("pattern", "topic", "matches"),
    [
        ("doors.front", "doors.front", True),
        ("doors.front", "doors.back", False),
        ("doors.*", "doors.front", True),
        ("doors.*", "doors", False),
        ("doors.*", "doors.front.bell", False),
        ("*.front", "doors.front", True),
        ("doors.>", "doors.front.bell", True),
        ("doors.>", "doors", False),
        (">", "doors", True),
        ("*", "doors.front", False),
    ],
)
def test_topics(pattern: str, topic: str, matches: bool) -> None:
    assert Topics(pattern).match(topic) is matches


@pytest.mark.parametrize("pattern", ["", ".", "a..b", ">.a", "a b", "a."])
def test_what_is_no_topic(pattern: str) -> None:
    with pytest.raises(UsageProblem):
        Topics(pattern)


def stored(payload: bytes) -> Stored:
    return Stored("edge.from.pi-01.data", 7, NOW, payload, False)


def chunk(*bodies: tuple[str, int, bytes]) -> bytes:
    return encode_data(Progress(), [Message(number, 1) for number in range(len(bodies))], bodies)


def test_messages_come_by_their_times_and_those_of_times_to_come_are_counted() -> None:
    left = LeftOut()
    found = messages(stored(chunk(("a.x", NOW_MS, b"2"), ("a.y", NOW_MS - 5, b"\n"), ("a.z", NOW_MS + 10**9, b""))), left)
    assert found == [
        DataMessage("pi-01", "a.y", NOW_MS - 5, b"\n", 7, 1),
        DataMessage("pi-01", "a.x", NOW_MS, b"2", 7, 0),
    ]
    assert left.ahead == {"pi-01": 1}


@pytest.mark.parametrize(
    "payload",
    [b"\xff" * 500_000, chunk(("a", 1, b"abc"))[:-1], chunk(("a", 1, b"abc")).replace(b'"sizes":[3]', b'"sizes":[-3]')],
    ids=["nonsense", "cut-off", "negative"],
)
def test_a_chunk_that_makes_no_sense_is_counted(payload: bytes) -> None:
    left = LeftOut()
    assert messages(stored(payload), left) == [] and left.unreadable["pi-01"][0] == 1


@pytest.mark.parametrize(
    "topic", ["doors.front", "..", ".", "", "../../etc/passwd", "a/b", "a\x00b", ".ssh", "ü" * 300, "%2e", "a" * 500]
)
def test_a_topic_is_one_name_in_its_folder(topic: str, tmp_path: Path) -> None:
    name = folder_name(topic)
    assert "/" not in name and not name.startswith(".") and "\0" not in name and 0 < len(name.encode()) <= 200
    DataFolder(tmp_path / "out").write(DataMessage("pi-01", topic, NOW_MS, b"x", 7, 0))
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert file == tmp_path / "out" / "pi-01" / name / "20261121T100000.000Z-7-0" and file.read_bytes() == b"x"


def test_different_topics_have_different_folders() -> None:
    topics = ["a.b", "a/b", "a%2Fb", "A.b", "", "%", "a" * 500, "a" * 501]
    assert len({folder_name(topic) for topic in topics}) == len(topics)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(Failed, match="cannot write into"):
        DataFolder(tmp_path / "out").write(DataMessage("pi-01", "a", NOW_MS, b"x", 7, 0))


def test_a_topic_is_no_subject_of_the_device() -> None:
    with pytest.raises(UsageProblem, match=r"Write 'doors\.>'"):
        Topics("local.data.doors.>")
