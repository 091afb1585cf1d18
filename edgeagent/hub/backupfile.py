"""The form of a hub's backup: a plain tar, of which anybody with ``tar tf`` can see what is in it.

    README                                what this is, and that it holds secrets
    streams/<name>/backup.json            the stream's configuration and state, in JetStream's words
    streams/<name>/stream.tar.s2.00001    its snapshot in parts; put together they are what the tool `nats stream restore` takes
    hub/hub.toml, hub/keys/..., ...       the hub's folder
    accounts/<public key>.jwt             the accounts as its server has them, with who is kept out
    manifest.json                         of when and what, with a SHA-256 of everything

It is written in one go, so that it can go into a pipe; therefore the manifest comes last, and a backup that broke off has none. Sums tell
an accident; whoever can write the file can write other sums too, and whoever can read it has the hub's keys.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator
from typing import IO, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from edgeagent.errors import Failed
from edgeagent.hub.snapshots import State

__all__ = [
    "MAX_FILE_BYTES",
    "PART_BYTES",
    "VERSION",
    "BackupWriter",
    "Checked",
    "Manifest",
    "Part",
    "Parts",
    "StreamPart",
    "check",
    "members",
]

VERSION = 1
#: A part of a snapshot, in bytes: what is held in memory, and must pass through a pipe within the server's patience (5 s).
PART_BYTES = 2 << 20
#: No other member is larger. The manifest has some 200 bytes for each file and stream.
MAX_FILE_BYTES = 16 << 20
_FIRST_LINE = "A backup of an edgeagent hub, form "
_README = f"""{_FIRST_LINE}{VERSION}.

It holds SECRETS: the hub's keys and certificates. Who has it can let devices in and lock them out. Keep it as you keep those,
encrypted where others could read it. The keys of the hub's owner are not in it: `edgeagent hub keys backup` is for those.

    edgeagent hub restore FILE --check     looks whether it is whole
    edgeagent hub restore FILE --dir DIR   makes a hub of it; docs/backup.md says what that undoes
"""
#: All of them together; a hub has some dozens, of a few KiB.
_MAX_FILES_BYTES = 64 << 20
MANIFEST = "manifest.json"
#: Names that a backup may have: no way out of a folder, nothing hidden, nothing that a terminal would not show.
_NAME = re.compile(r"(?:README|manifest\.json|(?:hub|accounts|streams)(?:/[A-Za-z0-9_][A-Za-z0-9_.=@+-]{0,127}){1,6})\Z")
_SNAPSHOT = re.compile(r"streams/([A-Za-z0-9_-]{1,64})/stream\.tar\.s2\.([0-9]{5,})\Z")
_WHAT = "use the backup"
_ANOTHER = "take another backup"


#: Of what is shown: what a hub writes there, and nothing that a terminal would obey. Somebody may look what is in a file of another's.
_Time = Annotated[str, Meta(pattern=r"^[0-9TZ:.+-]{0,40}\Z")]
_Plain = Annotated[str, Meta(pattern=r"^[ -~]{0,128}\Z")]
_Member = Annotated[str, Meta(pattern=f"^{_NAME.pattern}")]
_Stream = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Size in bytes, and SHA-256 in hex."""

    size: int
    sha256: str


class StreamPart(msgspec.Struct, frozen=True, kw_only=True):
    """One stream: what it held, when that was (RFC 3339), and its snapshot, all parts as one."""

    time: _Time
    state: State
    snapshot: Part


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """hub: its name. operator: the public key that makes it this hub. began, ended: RFC 3339.

    edgeagent, server: versions. replicas: copies that each stream had. final: the hub was stopped, so nothing came after it.
    streams: by name, in the order in which they were taken. files: every other member but this.
    """

    hub: _Plain
    operator: _Plain
    began: _Time
    ended: _Time
    edgeagent: _Plain
    server: _Plain
    replicas: int = 1
    final: bool = False
    streams: dict[_Stream, StreamPart] = {}
    files: dict[_Member, Part] = {}
    v: int = VERSION


class BackupWriter:
    """Writes a backup into ``out``, which need not be able to seek. Raises OSError."""

    def __init__(self, out: IO[bytes], now: float) -> None:
        """now: Unix seconds, the time that every member gets."""
        self._tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.USTAR_FORMAT)  # noqa: SIM115  # closed by end()
        self._now = now
        self._files: dict[str, Part] = {}
        self.written = 0
        self.add("README", _README.encode())

    def add(self, name: str, data: bytes) -> None:
        """A file, whole."""
        if not _NAME.match(name) or len(data) > MAX_FILE_BYTES:
            raise ValueError(f"{name} does not belong into a backup")
        self._files[name] = Part(size=len(data), sha256=hashlib.sha256(data).hexdigest())
        self._member(name, data)

    def add_part(self, stream: str, number: int, data: bytes) -> None:
        """The next part of a stream's snapshot; its sum is the caller's. number: from 1."""
        self._member(f"streams/{stream}/stream.tar.s2.{number:05}", data)

    def end(self, manifest: Manifest) -> Manifest:
        """Complete it; the manifest as it was written. ``files`` is filled in here."""
        whole = msgspec.structs.replace(manifest, files=dict(self._files))
        self._member(MANIFEST, msgspec.json.format(msgspec.json.encode(whole)) + b"\n")
        self._tar.close()
        return whole

    def abandon(self) -> None:
        """Write nothing more. What was written has no end, so nobody takes it for whole."""
        if self._tar.fileobj is not None:
            # Else tarfile writes an end when it is collected, into a file that is closed by then.
            self._tar.fileobj.closed = True  # type: ignore[attr-defined]

    def _member(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = len(data), 0o600, int(self._now)
        self._tar.addfile(member, io.BytesIO(data))
        self.written += len(data)


def members(source: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Every member of a backup, in its order. Raises Failed for what is none, or is not whole.

    Nothing is looked up by name and nothing is unpacked: what is in the file decides nothing but the bytes that the caller is given.
    """
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:
            for number, member in enumerate(tar):
                yield member.name, _content(tar, member, first=number == 0)
    except (tarfile.TarError, EOFError, UnicodeDecodeError) as error:
        raise Failed(_WHAT, f"it is no backup of a hub, or broke off ({error})", _ANOTHER) from None


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, *, first: bool) -> bytes:
    if first and member.name != "README":
        raise Failed(_WHAT, "it is no backup of a hub")
    if not member.isreg() or not _NAME.match(member.name):
        raise Failed(_WHAT, f"it holds {member.name[:100]!r}, which no backup of a hub does: somebody made it up")
    most = PART_BYTES if _SNAPSHOT.match(member.name) else MAX_FILE_BYTES
    if member.size > most:
        raise Failed(_WHAT, f"{member.name} is too large for what it is: somebody made it up")
    content = tar.extractfile(member)
    assert content is not None
    data = content.read()
    if len(data) != member.size:
        raise Failed(_WHAT, "it broke off", _ANOTHER)
    if first:
        _check_form(data)
    return data


def _check_form(readme: bytes) -> None:
    line = readme.partition(b"\n")[0].decode("utf-8", "replace")
    if not line.startswith(_FIRST_LINE):
        raise Failed(_WHAT, "it is no backup of a hub")
    if line != f"{_FIRST_LINE}{VERSION}.":
        form = line.removeprefix(_FIRST_LINE)[:20].rstrip(".")
        raise Failed(_WHAT, f"it is of form {form}, this edgeagent knows form {VERSION}", "restore it with a newer edgeagent")


def _part_of(name: str) -> tuple[str, int] | None:
    """The stream and the number of a part of a snapshot; None for another member."""
    found = _SNAPSHOT.match(name)
    return (found[1], int(found[2])) if found else None


class Parts:
    """The snapshots of a backup that :func:`check` found whole. source: a file that can seek."""

    def __init__(self, source: IO[bytes]) -> None:
        source.seek(0)
        self._tar = tarfile.open(fileobj=source, mode="r:")  # noqa: SIM115  # closes with its source
        self._of: dict[str, list[tarfile.TarInfo]] = {}
        for member in self._tar:
            if part := _part_of(member.name):
                self._of.setdefault(part[0], []).append(member)

    def of(self, stream: str) -> Iterator[bytes]:
        for member in self._of.get(stream, []):
            yield _content(self._tar, member, first=False)


class Checked(NamedTuple):
    """files: every member but the snapshots and the manifest, by name."""

    manifest: Manifest
    files: dict[str, bytes]


def check(source: IO[bytes]) -> Checked:
    """Read a backup to its end. Raises Failed unless it is whole and every sum is right."""
    sums, sizes, numbers = dict[str, Any](), dict[str, int](), dict[str, int]()
    manifest: bytes | None = None
    kept = dict[str, bytes]()
    for name, data in members(source):
        if manifest is not None:
            raise Failed(_WHAT, f"{name} comes after its end: somebody made it up")
        if name == MANIFEST:
            manifest = data
            continue
        part = _part_of(name)
        known = f"streams/{part[0]}" if part else name
        if part and part[1] != numbers.get(known, 0) + 1:
            raise Failed(_WHAT, f"parts of the stream {part[0]} are missing or out of order", _ANOTHER)
        if not part:
            if name in kept or sum(map(len, kept.values())) > _MAX_FILES_BYTES:
                raise Failed(_WHAT, f"{name} is too much in it: somebody made it up")
            kept[name] = data
        numbers[known] = part[1] if part else 1
        sums.setdefault(known, hashlib.sha256()).update(data)
        sizes[known] = sizes.get(known, 0) + len(data)
    if manifest is None:
        raise Failed(_WHAT, "it broke off: its end is missing", _ANOTHER)
    found = {name: Part(size=sizes[name], sha256=one.hexdigest()) for name, one in sums.items()}
    return Checked(_compared(_decoded(manifest), found), kept)


def _decoded(data: bytes) -> Manifest:
    try:
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise Failed(_WHAT, f"its manifest is damaged: {error}", _ANOTHER) from None


def _compared(manifest: Manifest, found: dict[str, Part]) -> Manifest:
    wanted = {**manifest.files, **{f"streams/{name}": one.snapshot for name, one in manifest.streams.items()}}
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            raise Failed(_WHAT, f"{name} is missing in it", _ANOTHER)
        if wanted.get(name) != found[name]:
            raise Failed(_WHAT, f"{name} is not what was written: it was damaged, or somebody changed it", _ANOTHER)
    return manifest
