"""The folder ``<hub folder>/keys``: one secret a file, readable by its owner alone, made whole or not at all. No meaning, only files."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgeagent import files
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.trust import creds
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair, Kind

__all__ = ["MEND", "check_mode", "check_private", "read_credentials", "read_public", "read_seed", "replace", "write_new"]

#: What to do about a key that is lost or damaged.
MEND = "the hub's owner writes it anew: `edgeagent hub keys update`"


def check_private(path: Path) -> None:
    """Raise Refused when others on this machine can read the file, or look into the folder; Failed when there is none."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise files.failure(f"read {path}", error) from None
    check_mode(path, mode)


def check_mode(path: Path, found: int) -> None:
    """Raise Refused when others on this machine can read what has this mode (``st_mode``)."""
    mode = stat.S_IMODE(found)
    if mode & 0o077:
        private = "700" if stat.S_ISDIR(found) else "600"
        raise Refused(f"read {path}", f"others on this machine can read it (mode {mode:04o})", f"`chmod {private} {path}`")


def read_seed(path: Path, kind: Kind) -> KeyPair:
    """The key of the seed in ``path``. Raises Failed when it is missing, damaged or of another kind, Refused when others can read it."""
    what = f"read the key {path}"
    seed = _text(path, what)
    check_private(path)
    try:
        key = KeyPair.from_seed(seed)
    except EdgeError as error:
        raise Failed(what, error.why, MEND) from None
    if key.kind != kind:
        raise Failed(what, f"it is the key of {_an(key.kind)}, not of {_an(kind)}", MEND)
    return key


def read_credentials(path: Path) -> Credentials:
    """A login of the hub's own. Raises as :func:`read_seed`."""
    what = f"read the key {path}"
    text = _text(path, what)
    check_private(path)
    try:
        return creds.parse(text)
    except EdgeError as error:
        raise Failed(what, error.why, MEND) from None


def read_public(path: Path) -> bytes:
    """A file of the folder with nothing secret in it. Raises Failed when it is missing."""
    return _text(path, f"read the keys {path}").encode()


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise Failed(what, "there is no such file", MEND) from None
    except PermissionError:
        raise Refused(what, "this user may not", "run as the user that made the hub") from None
    except UnicodeDecodeError:
        raise Failed(what, "it is damaged", MEND) from None
    except OSError as error:
        raise Failed(what, error.strerror or "the disk reports an error", MEND) from None


def write_new(folder: Path, contents: Mapping[str, str]) -> None:
    """Make ``folder`` with a file for each item of ``contents``, beside its place, and rename it there.

    So a crash leaves no half of it, and a folder that is there is never replaced: Refused. Failed when it cannot be written.
    """
    what = f"make keys in {folder}"
    if folder.exists():
        raise Refused(what, "there are some already", "they would be lost, and with them every device; name another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".keys-", dir=folder.parent))  # mode 0700
    except OSError as error:
        raise Failed(what, str(error)) from None
    try:
        for name, text in contents.items():
            _write(draft / name, text)
        draft.rename(folder)
        _sync_folder(folder.parent)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise Failed(what, str(error)) from None


def replace(folder: Path, contents: Mapping[str, str]) -> list[str]:
    """Write those files of ``contents`` anew that differ, in its order, each of them at once; which. Raises EdgeError."""
    changed = []
    for name, text in contents.items():
        data = f"{text}\n".encode()
        if files.read_if_there(folder / name) != data:
            files.write_atomic(folder / name, data, 0o600)
            changed.append(name)
    return changed


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _an(kind: Kind) -> str:
    return f"{'a' if kind in ('user', 'server') else 'an'} {kind}"
