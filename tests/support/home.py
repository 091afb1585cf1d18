"""A home of its own for whoever runs: contexts, caches and state go to a temporary folder, never to the user's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["PASSPHRASE", "own_home", "variables"]

_FOLDERS = {
    "HOME": "home",
    "XDG_CONFIG_HOME": "config",
    "XDG_STATE_HOME": "state",
    "XDG_CACHE_HOME": "cache",
    "XDG_DATA_HOME": "data",
    "XDG_RUNTIME_DIR": "runtime",
}
_OURS = ("EDGEAGENT_SETTINGS", "EDGEAGENT_CONTEXT", "EDGEAGENT_HUB_DIR", "NATS_URL")
#: Of every owner's file that a test makes, unless it says otherwise.
PASSPHRASE = "correct horse battery staple"
#: A busy machine may stand still for longer than a person would wait for a device's answer.
_SET = {"EDGEAGENT_PASSPHRASE": PASSPHRASE, "EDGEAGENT_QUERY_TIMEOUT": "30"}


def variables(folder: Path) -> dict[str, str]:
    """The environment variables that make ``folder`` the home; the folders are made."""
    for name in _FOLDERS.values():
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return {variable: str(folder / name) for variable, name in _FOLDERS.items()}


@contextlib.contextmanager
def own_home(folder: Path) -> Iterator[Path]:
    """While the block runs, this process and those it starts live in ``folder``; variables of ours are not set there,
    but for the passphrase of owners' files and how long to wait for answers.
    """
    before = {name: os.environ.get(name) for name in (*_FOLDERS, *_OURS, *_SET)}
    os.environ.update({**variables(folder), **_SET})
    for name in _OURS:
        os.environ.pop(name, None)
    try:
        yield folder
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
