"""What is sent to a board: a version and its files, and the same in several builds packed into one file, the same bytes whoever makes it.

A board runs ``.py``, or ``.mpy`` of one version of bytecode; which one only it knows, so what is sent from afar has both. Pure.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeagent.errors import Failed, UsageProblem

if TYPE_CHECKING:
    import tarfile

__all__ = ["MAX_ARCHIVE_BYTES", "SOURCE", "Builds", "Release", "fitting", "is_file_name", "pack", "unpack", "version_in"]

#: What a board takes: firmware/app/update.py has the same numbers.
MAX_FILES, MAX_FILE_BYTES, MAX_BYTES = 64, 96 << 10, 512 << 10
#: A packed release, in bytes, and how many builds are in it.
MAX_ARCHIVE_BYTES, MAX_BUILDS = 2 << 20, 4
#: The build of plain Python; the others are called after their bytecode, such as ``mpy-6.3``.
SOURCE = "py"

_VERSION = re.compile(r"[A-Za-z0-9_.+-]{1,32}\Z")
_NAME = re.compile(r"([a-z0-9_]{1,32}/)?[a-z0-9_]{1,32}\.m?py\Z")
_BUILD = re.compile(r"py\Z|mpy-[0-9]{1,3}\.[0-9]\Z")
_SAID = re.compile(r"^VERSION *= *[\"']([^\"'\n]*)[\"']", re.MULTILINE)


@dataclass(frozen=True)
class Release:
    """The content of a slot: files by name, such as ``sensors/adc.py``. Raises UsageProblem when a board would not take it."""

    version: str
    files: Mapping[str, bytes]
    manifest: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        why = _wrong(self.version, self.files)
        if why:
            raise UsageProblem(f"use the firmware {self.version[:32]!r}", why)
        object.__setattr__(self, "manifest", _manifest(self.version, self.files))

    @property
    def sha256(self) -> str:
        """Of the manifest, which has that of every file: two releases are the same when this is."""
        return hashlib.sha256(self.manifest).hexdigest()

    @property
    def size(self) -> int:
        return sum(map(len, self.files.values()))


#: Builds of one version, by what they are made of: :data:`SOURCE`, ``mpy-6.3``.
Builds = Mapping[str, Release]


def is_file_name(name: str) -> bool:
    """Whether a board takes a file of that name: never an absolute path, nor one with ``..``."""
    return _NAME.match(name) is not None


def version_in(text: bytes) -> str:
    """What ``version.py`` says. Raises UsageProblem when it says none."""
    found = _SAID.search(text.decode("utf-8", "replace"))
    if not found or not _VERSION.match(found[1]):
        raise UsageProblem("read the firmware's version", "version.py says none", 'it has to say VERSION = "1.0.0"')
    return found[1]


def fitting(builds: Builds, bytecode: str) -> Release:
    """The one for a board whose interpreter reads that bytecode (``6.3``; empty: not known): compiled if there is such a one."""
    found = builds.get(f"mpy-{bytecode}") or builds.get(SOURCE)
    if found is None:
        why = f"it has no build for a board that reads bytecode {bytecode or 'of an unknown version'}"
        raise UsageProblem("use this firmware", why, "make it with its source")
    return found


def pack(builds: Builds) -> bytes:
    """All of it in one tar file: no times, no owners, in order."""
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for build in sorted(builds):
            of_build = {"VERSION": builds[build].version.encode(), **builds[build].files}
            for name in sorted(of_build):
                member = tarfile.TarInfo(f"{build}/{name}")
                member.size, member.mode = len(of_build[name]), 0o644
                archive.addfile(member, io.BytesIO(of_build[name]))
    return out.getvalue()


def unpack(data: bytes) -> dict[str, Release]:
    """What :func:`pack` made. Raises Failed for anything else: nothing of it is believed."""
    what = "read the firmware"
    try:
        found = _read(data)
        builds = {build: Release(files.pop("VERSION", b"").decode("ascii"), files) for build, files in found.items()}
    except UsageProblem as problem:
        raise Failed(what, problem.why) from None
    except (ValueError, EOFError, OverflowError, RecursionError, OSError) as error:
        raise Failed(what, f"it is no release: {error}") from None
    if not builds or len({each.version for each in builds.values()}) != 1:
        raise Failed(what, "it has no build, or builds of several versions")
    return builds


def _read(data: bytes) -> dict[str, dict[str, bytes]]:
    import tarfile

    if len(data) > MAX_ARCHIVE_BYTES:
        raise ValueError(f"it has {len(data):,} bytes, and {MAX_ARCHIVE_BYTES:,} are read at most")
    found: dict[str, dict[str, bytes]] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            while (member := archive.next()) is not None:
                _take(found, member.name, _content(archive, member))
    except tarfile.TarError as error:
        raise ValueError(str(error)) from None
    return found


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    import tarfile

    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None:
        raise ValueError(f"{member.name[:80]!r} is no plain file")
    if not 0 <= member.size <= MAX_FILE_BYTES:
        raise ValueError(f"{member.name[:80]!r} has {member.size} bytes, and {MAX_FILE_BYTES:,} are taken at most")
    stream = archive.extractfile(member)
    content = stream.read(MAX_FILE_BYTES + 1) if stream else b""
    if len(content) != member.size:
        raise ValueError(f"{member.name[:80]!r} is cut off")
    return content


def _take(found: dict[str, dict[str, bytes]], path: str, content: bytes) -> None:
    build, _, name = path.partition("/")
    if not _BUILD.match(build) or not (name == "VERSION" or is_file_name(name)):
        raise ValueError(f"{path[:80]!r} is no name in a release")
    files = found.setdefault(build, {})
    if name in files or len(found) > MAX_BUILDS or len(files) > MAX_FILES:
        raise ValueError(f"{path[:80]!r} is there twice, or there are too many")
    files[name] = content


def _manifest(version: str, files: Mapping[str, bytes]) -> bytes:
    """As the board writes it (firmware/app/update.py), byte by byte."""
    names = ",".join(f'"{name}":"{hashlib.sha256(files[name]).hexdigest()}"' for name in sorted(files))
    return f'{{"version":"{version}","files":{{{names}}}}}'.encode()


def _wrong(version: str, files: Mapping[str, bytes]) -> str:
    if not _VERSION.match(version):
        return "a version is 1 to 32 of letters, digits, '.', '+', '-' and '_'"
    bad = [name for name in files if not is_file_name(name)]
    if bad:
        return f"a board takes no file {bad[0][:80]!r}"
    large = [name for name, data in files.items() if len(data) > MAX_FILE_BYTES]
    if large or len(files) > MAX_FILES or sum(map(len, files.values())) > MAX_BYTES:
        of = f"{large[0]} is too large: " if large else ""
        return f"{of}a board takes {MAX_FILES} files of {MAX_FILE_BYTES:,} bytes, {MAX_BYTES:,} in all"
    stems = [name.rpartition(".")[0] for name in files]
    if len(stems) != len(set(stems)):
        return "a module is in it both as .py and as .mpy"
    return "" if "app" in stems else "it has no app.py"
