"""The firmware that is put on boards: where its files are, and what a board gets of them."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from edgeagent import files
from edgeagent.errors import Failed

__all__ = ["MANIFEST", "Release", "folder", "manifest_of", "release"]

MANIFEST = "manifest.json"
#: What an update never replaces, so that there is always something that can start the other slot.
ROOT_FILES = ("loader.py", "main.py")
_VERSION = re.compile(r'^VERSION = "([0-9A-Za-z.+-]{1,32})"$', re.MULTILINE)


@dataclass(frozen=True)
class Release:
    """slot: the files of a slot by name (``sensors/adc.py``), without its manifest. root: those beside the slots."""

    version: str
    slot: dict[str, bytes]
    root: dict[str, bytes]


def folder() -> Path:
    """Where the firmware's files are: beside the package in a checkout, else within it. Raises Failed."""
    package = Path(__file__).parents[1]
    for found in (package.parent / "firmware", package / "_firmware"):
        if (found / "app" / "version.py").is_file():
            return found
    raise Failed("find the firmware", "this installation has none", "name its folder with --source")


def release(source: Path | None = None) -> Release:
    """What is in the folder ``source``; None: :func:`folder`. Raises EdgeError."""
    source = source or folder()
    version = _VERSION.search(files.read_text(source / "app" / "version.py"))
    if not version:
        raise Failed(f"read the firmware in {source}", 'app/version.py has no line VERSION = "..."')
    app = source / "app"
    slot = {str(path.relative_to(app)): files.read_bytes(path) for path in sorted(app.rglob("*.py"))}
    return Release(version[1], slot, {name: files.read_bytes(source / name) for name in ROOT_FILES})


def manifest_of(of: Release) -> bytes:
    """By it a board knows whether a slot is whole."""
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(of.slot.items())}
    return json.dumps({"version": of.version, "files": hashes}, separators=(",", ":")).encode()
