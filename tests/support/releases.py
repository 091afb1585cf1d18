"""Releases of edgeagent that never were: the tree's own wheel under another version, whole or with one module broken."""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeagent import __version__

__all__ = ["released", "tiny"]


def released(
    wheel: Path, version: str, into: Path, *, instead: Mapping[str, str] | None = None, after: Mapping[str, str] | None = None
) -> Path:
    """A wheel of edgeagent ``version`` in the folder ``into``. instead: module file -> its text. after: what stands at the end of a module."""
    target = into / f"edgeagent-{version}-py3-none-any.whl"
    records = []
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            name = info.filename.replace(f"edgeagent-{__version__}.dist-info", f"edgeagent-{version}.dist-info")
            if name.endswith(".dist-info/RECORD"):
                continue
            data = _changed(name, old.read(info), version, instead or {}, after or {})
            new.writestr(name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            records.append(f"{name},sha256={digest},{len(data)}")
        record = f"edgeagent-{version}.dist-info/RECORD"
        new.writestr(record, "\n".join([*records, f"{record},,", ""]))
    return target


def _changed(name: str, data: bytes, version: str, instead: Mapping[str, str], after: Mapping[str, str]) -> bytes:
    if name in instead:
        return instead[name].encode()
    if name in after:
        return data + after[name].encode()
    if name.endswith(".dist-info/METADATA"):
        return re.sub(rb"(?m)^Version: .*$", f"Version: {version}".encode(), data, count=1)
    if name == "edgeagent/__init__.py":
        return data.replace(f'__version__ = "{__version__}"'.encode(), f'__version__ = "{version}"'.encode())
    return data


def tiny(
    into: Path,
    name: str,
    version: str,
    *,
    needs: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
    tag: str = "py3-none-any",
    entry: str = "",
) -> Path:
    """A wheel of next to nothing in the folder ``into``. needs: as Requires-Dist has it. entry: a console script, as ``name = module:function``."""
    folder, target = f"{name}-{version}.dist-info", into / f"{name}-{version}-{tag}.whl"
    content = {
        **(files or {f"{name}.py": f"version = {version!r}\n"}),
        f"{folder}/METADATA": "\n".join(
            [
                "Metadata-Version: 2.1",
                f"Name: {name}",
                f"Version: {version}",
                *(f"Requires-Dist: {need}" for need in needs),
                "",
                "",
            ]
        ),
        f"{folder}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
        **({f"{folder}/entry_points.txt": f"[console_scripts]\n{entry}\n"} if entry else {}),
    }
    lines = [f"{file},," for file in content]
    content[f"{folder}/RECORD"] = "\n".join([*lines, f"{folder}/RECORD,,", ""])
    with zipfile.ZipFile(target, "w") as archive:
        for file, text in content.items():
            archive.writestr(file, text)
    return target
