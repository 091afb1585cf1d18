"""The form of a backup: what is in it is what was written, or it is refused."""

from __future__ import annotations

import gc
import hashlib
import io
import sys
import tarfile
from collections.abc import Callable

import pytest

from edgeagent.errors import Failed
from edgeagent.hub.backupfile import MAX_FILE_BYTES, PART_BYTES, BackupWriter, Manifest, Part, Parts, StreamPart, check, members
from edgeagent.hub.snapshots import State

SNAPSHOT = [b"a" * PART_BYTES, b"the rest"]
STATE = State(messages=3, bytes=9, first_seq=1, last_seq=3)


def written(parts: list[bytes] | None = None, name: str = "EDGE_METRICS") -> bytes:
    out, parts = io.BytesIO(), SNAPSHOT if parts is None else parts
    writer = BackupWriter(out, 1_795_000_000)
    writer.add(f"streams/{name}/backup.json", b"{}")
    for number, part in enumerate(parts, 1):
        writer.add_part(name, number, part)
    whole = b"".join(parts)
    sums = Part(size=len(whole), sha256=hashlib.sha256(whole).hexdigest())
    writer.add("hub/hub.toml", b"[hub]\n")
    stream = StreamPart(time="2026-11-22T12:00:00.000Z", state=STATE, snapshot=sums)
    writer.end(
        Manifest(hub="berlin", operator="O", began="", ended="", edgeagent="1", server="2", streams={name: stream}),
    )
    return out.getvalue()


def remade(data: bytes, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> bytes:
    """The same tar with its members changed by somebody."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = [(member, tar.extractfile(member).read() if member.isreg() else b"") for member in tar]  # type: ignore[union-attr]
    change(found)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for member, content in found:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def why(data: bytes) -> str:
    with pytest.raises(Failed) as refused:
        check(io.BytesIO(data))
    return str(refused.value)


def test_one_that_breaks_off_ends_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    with io.BytesIO() as out:
        writer = BackupWriter(out, 0)
        writer.abandon()
        begun = out.getvalue()
    del writer
    gc.collect()
    assert said == [] and "broke off" in why(begun)


def test_what_was_written_is_read() -> None:
    source = io.BytesIO(written())
    manifest, files = check(source)
    assert (manifest.hub, manifest.streams["EDGE_METRICS"].state) == ("berlin", STATE)
    assert files["hub/hub.toml"] == b"[hub]\n" and not any("stream.tar" in name for name in files)
    assert list(Parts(source).of("EDGE_METRICS")) == SNAPSHOT and list(Parts(source).of("EDGE_DATA")) == []


def test_a_person_can_look_into_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(written())) as tar:
        assert tar.getnames() == [
            "README",
            "streams/EDGE_METRICS/backup.json",
            "streams/EDGE_METRICS/stream.tar.s2.00001",
            "streams/EDGE_METRICS/stream.tar.s2.00002",
            "hub/hub.toml",
            "manifest.json",
        ]
        assert {member.mode for member in tar} == {0o600}
        readme = tar.extractfile("README")
        assert readme and b"SECRETS" in readme.read()


def test_one_that_broke_off_is_none() -> None:
    data = written()
    assert "its end is missing" in why(remade(data, lambda found: found.pop()))
    for size in [10_000, PART_BYTES, len(data) - 12_000]:
        assert "broke off" in why(data[:size]), size
    assert "no backup" in why(b"")


def test_what_is_not_ours_is_named_so() -> None:
    assert "no backup of a hub" in why(b"hello" * 1000)
    other = io.BytesIO()
    with tarfile.open(fileobj=other, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("etc/passwd"))
    assert "no backup of a hub" in why(other.getvalue())


def test_another_form_is_named() -> None:
    assert "it is of form 2, this edgeagent knows form 1" in why(written().replace(b"hub, form 1.", b"hub, form 2."))


@pytest.mark.parametrize("number", range(1, 6))
def test_a_part_that_was_changed_is_found(number: int) -> None:
    def change(found: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        member, content = found[number]
        found[number] = member, content[:-1] + b"!"

    assert any(word in why(remade(written(), change)) for word in ("is not what was written", "manifest is damaged"))


@pytest.mark.parametrize("number", range(1, 5))
def test_a_part_that_is_missing_is_found(number: int) -> None:
    assert any(
        word in why(remade(written(), lambda found: found.pop(number) and None))  # type: ignore[func-returns-value]
        for word in ("missing", "not what was written")
    )


@pytest.mark.parametrize(
    "name",
    [
        "../hub.toml",
        "/etc/cron.d/x",
        "hub/../../x",
        "hub/keys/../../../x",
        "hub/.ssh/x",
        "hub//x",
        "other/x",
        "hub/x\x1b[2J",
        "hub/a/b/c/d/e/f/g",
        "hub/" + "x" * 90 + "/",
    ],
)
def test_an_attacker_finds_no_way_out_of_the_folder(name: str) -> None:
    """Sums do not keep him out: he can write those too."""

    def change(found: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        found.insert(1, (tarfile.TarInfo(name), b"x"))

    assert "made it up" in why(remade(written(), change))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_nothing_but_files_is_taken(kind: bytes) -> None:
    def change(found: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        link = tarfile.TarInfo("hub/keys")
        link.type, link.linkname = kind, "/etc"
        found.insert(1, (link, b""))

    assert "made it up" in why(remade(written(), change))


def test_a_member_that_fills_the_memory_is_not_read() -> None:
    huge = tarfile.TarInfo("hub/hub.toml")
    huge.size = 1 << 40
    data = written()
    at = data.index(b"streams/EDGE_METRICS/backup.json")
    assert "too large" in why(data[:at] + huge.tobuf(tarfile.GNU_FORMAT))


def test_twice_and_behind_the_end_is_refused() -> None:
    assert "too much" in why(remade(written(), lambda found: found.insert(2, found[4])))
    assert "after its end" in why(remade(written(), lambda found: found.append(found[4])))
    assert "out of order" in why(remade(written(), lambda found: found.insert(2, found.pop(3))))


def test_only_what_belongs_into_a_backup_is_written() -> None:
    writer = BackupWriter(io.BytesIO(), 0)
    for name, data in [("hub/../x", b""), ("hub/x", bytes(MAX_FILE_BYTES + 1))]:
        with pytest.raises(ValueError, match="does not belong"):
            writer.add(name, data)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [('"berlin"', '"\\u001b]0;x\\u0007"'), ('"EDGE_METRICS"', '"EDGE\\u001b[2J"'), ("hub/hub.toml", "hub/\\u009b2J")],
)
def test_what_is_shown_of_anothers_file_moves_no_cursor(ours: str, theirs: str) -> None:
    def change(found: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        member, content = found[-1]
        assert ours.encode() in content
        found[-1] = member, content.replace(ours.encode(), theirs.encode())

    assert "its manifest is damaged" in why(remade(written(), change))


def test_members_come_in_their_order() -> None:
    assert [name for name, _ in members(io.BytesIO(written([], "KV_edge_people")))] == [
        "README",
        "streams/KV_edge_people/backup.json",
        "hub/hub.toml",
        "manifest.json",
    ]
