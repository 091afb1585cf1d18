"""A person's own editor on a file that is not lost, whatever happens."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from edgeagent import files, places
from edgeagent.errors import Failed

__all__ = ["draft", "edit"]

#: Tried in this order when neither $VISUAL nor $EDITOR says which.
_USUAL = ("sensible-editor", "nano", "vi")


def draft(name: str, text: str) -> Path:
    """A file of one's own with ``text``, in the state folder. name: what it begins with. Raises EdgeError when it can't be written."""
    folder = files.make_folder(places.state_folder(False) / "drafts", 0o700)
    path = folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.toml"
    files.write_atomic(path, text.encode(), 0o600)
    return path


def edit(path: Path) -> None:
    """Open ``path`` in $VISUAL, $EDITOR or a usual editor, and wait until it ends. Raises Failed when there is none or it fails."""
    words = _editor()
    try:
        code = subprocess.run([*words, str(path)], check=False).returncode
    except OSError as error:
        raise Failed(f"start the editor {words[0]}", error.strerror or str(error), "set $EDITOR") from None
    if code:
        raise Failed(f"edit {path}", f"the editor {words[0]} ended with {code}")


def _editor() -> list[str]:
    for variable in ("VISUAL", "EDITOR"):
        named = os.environ.get(variable, "").strip()
        if named:
            try:
                return shlex.split(named)
            except ValueError as error:
                raise Failed(f"start the editor in ${variable}", str(error)) from None
    found = next((path for name in _USUAL if (path := shutil.which(name))), None)
    if found is None:
        remedy = "set $EDITOR, or use `edgeagent config get` and `edgeagent config apply`"
        raise Failed("edit", "there is no editor on this machine", remedy)
    return [found]
