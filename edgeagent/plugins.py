"""Modules that register themselves when they are imported: a package's own, and other people's, found by the entry points of the packages
that are installed beside us.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["import_own", "load"]


def import_own(package: str, path: Iterable[str]) -> None:
    """Import the modules of ``package``, which are in the folders of ``path``; those whose names begin with ``_`` register nothing."""
    for module in pkgutil.iter_modules(path):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package}.{module.name}")


def load(group: str, kind: str, log: logging.Logger) -> dict[str, str]:
    """Import the plugins of ``group``; return ``{entry point: why it can't be used}`` of those that failed, which ``log`` hears too.

    kind: what they bring, for the log (``"facts"``). It searches all installed packages.
    """
    if not _named(group, sys.path):
        return {}
    from importlib.metadata import entry_points  # half a MiB and 20 ms, which most devices never need

    failures: dict[str, str] = {}
    for plugin in entry_points(group=group):
        try:
            plugin.load()
        except Exception as error:  # a stranger's module may raise anything while it is imported
            failures[plugin.name] = f"{type(error).__name__}: {error}"
            log.warning("left out the %s plugin %s (%s): %s", kind, plugin.name, plugin.value, failures[plugin.name])
    return failures


def _named(group: str, path: Iterable[str]) -> bool:
    """Whether a package in a folder of ``path`` may have an entry point in ``group``. What is no folder (a zip) may.

    Where they are listed: packaging.python.org, "Entry points specification"; eggs have the same file.
    """
    mark = f"[{group}]".encode()
    for folder in map(Path, path):
        if folder.is_file():
            return True
        for listed in folder.glob("*.*-info/entry_points.txt"):
            try:
                if mark in listed.read_bytes().replace(b" ", b""):
                    return True
            except OSError:
                return True  # whoever reads it properly says why it can't be read
    return False
