"""What a release of edgeagent is: a complete set of wheels for each platform. Pure.

The manifest's sha256 stands in the signed command, and those of the wheels in the manifest: so whoever stores other bytes at the hub, or
puts others in their place on the device, gains nothing. docs/upgrade.md says the same without Python.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edgeagent import wire
from edgeagent.errors import Failed
from edgeagent.transfer import SHA256_PATTERN, UPLOAD_PATTERN, pieces_of

__all__ = [
    "PROJECT",
    "Manifest",
    "Wheel",
    "encode",
    "installed",
    "is_version",
    "normal",
    "parse",
    "platform_key",
    "site_packages",
]

PROJECT = "edgeagent"
#: Of a manifest, a wheel, and all wheels of one platform, in bytes; and how many wheels a manifest names.
MAX_MANIFEST_BYTES, MAX_WHEEL_BYTES, MAX_SET_BYTES, MAX_WHEELS = 256 << 10, 256 << 20, 1 << 30, 500
#: Name, version, perhaps a build number, and three tags (packaging.python.org, "Binary distribution format").
_FILE = re.compile(r"(?P<name>[A-Za-z0-9._]+)-(?P<version>[A-Za-z0-9._!+]+)(-\d[A-Za-z0-9._]*)?(-[A-Za-z0-9._]+){3}\.whl\Z")
#: It becomes the name of a folder.
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+]{0,63}\Z")
#: What a 64-bit kernel calls itself -> what 32-bit programs on it are built for.
_HALVES = {"aarch64": "armv7l", "x86_64": "i686"}


class Wheel(msgspec.Struct, frozen=True, kw_only=True):
    """One wheel. file: its name, which says project, version and tags. upload: under which id its pieces are at the hub."""

    file: Annotated[str, Meta(max_length=255)]
    bytes: Annotated[int, Meta(ge=1, le=MAX_WHEEL_BYTES)]
    sha256: Annotated[str, Meta(pattern=SHA256_PATTERN)]
    upload: Annotated[str, Meta(pattern=UPLOAD_PATTERN)]

    def __post_init__(self) -> None:
        if not _FILE.match(self.file):
            raise ValueError(f"{self.file!r} is no name of a wheel")

    @property
    def name(self) -> str:
        """Of its project, as :func:`normal`."""
        return normal(self.file.split("-", 1)[0])

    @property
    def version(self) -> str:
        return self.file.split("-", 2)[1]

    @property
    def pieces(self) -> int:
        return pieces_of(self.bytes)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """version: of edgeagent. sets: for each platform (:func:`platform_key`) the files of all its wheels."""

    version: str
    wheels: Annotated[list[Wheel], Meta(max_length=MAX_WHEELS)]
    sets: dict[str, list[str]]
    v: int = wire.VERSION

    def __post_init__(self) -> None:
        if not is_version(self.version):
            raise ValueError(f"{self.version!r} is no version")
        for platform in self.sets:
            self._check(platform)

    def _check(self, platform: str) -> None:
        found = self.wheels_for(platform)
        names = [wheel.name for wheel in found]
        if len(set(names)) != len(names) or len(found) != len(self.sets[platform]):
            raise ValueError(f"the wheels for {platform} are not one of each project")
        if [wheel.version for wheel in found if wheel.name == PROJECT] != [self.version]:
            raise ValueError(f"{PROJECT} {self.version} is not among the wheels for {platform}")
        if sum(wheel.bytes for wheel in found) > MAX_SET_BYTES:
            raise ValueError(f"the wheels for {platform} have more than {MAX_SET_BYTES:,} bytes")

    def wheels_for(self, platform: str) -> list[Wheel]:
        """All wheels that a device of this platform runs on; none when the release has none for it."""
        wanted = set(self.sets.get(platform, ()))
        return [wheel for wheel in self.wheels if wheel.file in wanted]

    def lacking(self, platform: str, present: dict[str, str]) -> list[Wheel]:
        """Those of them that an environment with ``present`` (name -> version) does not have."""
        return [wheel for wheel in self.wheels_for(platform) if present.get(wheel.name) != wheel.version]


def is_version(text: str) -> bool:
    return _VERSION.match(text) is not None


def normal(name: str) -> str:
    """A project's name as all its spellings have it (packaging.python.org, "Name normalization")."""
    return re.sub(r"[-_.]+", "-", name).lower()


def platform_key(python: str, machine: str, bits: int | None) -> str:
    """``3.11 aarch64``, of ``versions.python``, ``architecture`` and ``userland_bits``: a 64-bit kernel may have 32-bit programs."""
    ours = _HALVES.get(machine, machine) if bits == 32 else machine
    return f"{'.'.join(python.split('.')[:2])} {ours}"


def encode(manifest: Manifest) -> bytes:
    return msgspec.json.encode(manifest)


def parse(data: bytes) -> Manifest:
    """Raises Failed when it is none."""
    what = "read the release"
    if len(data) > MAX_MANIFEST_BYTES:
        raise Failed(what, f"its manifest has {len(data):,} bytes, and {MAX_MANIFEST_BYTES:,} are allowed")
    try:
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(what, str(error)) from None


def site_packages(environment: Path) -> Path:
    """Where a virtual environment has its packages. Raises Failed when it is none."""
    found = sorted(environment.glob("lib/python3.*/site-packages"))
    if len(found) != 1:
        raise Failed(f"look into {environment}", "it is no virtual environment")
    return found[0]


def installed(environment: Path) -> dict[str, str]:
    """What a virtual environment has, name -> version, by the names of its folders: that takes no time and no memory."""
    parts = (folder.name.removesuffix(".dist-info").rpartition("-") for folder in site_packages(environment).glob("*.dist-info"))
    return {normal(name): version for name, _, version in parts if name}
