"""What a device measures: one self-registering file a collector. Importing this package registers them all.

Other people's collectors are modules named in the entry point group ``edgeagent.collectors`` (:func:`load_plugins`), or programs in any
language in a folder of the device (:mod:`edgeagent.patterns.programcollectors`). A module whose name begins with ``_`` is shared by
several collectors and registers nothing.
"""

from __future__ import annotations

import functools
import importlib
import logging
import pkgutil
from collections.abc import Mapping
from importlib.metadata import entry_points

__all__ = ["ENTRY_POINT_GROUP", "load_plugins"]

log = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "edgeagent.collectors"


def _import_builtins() -> None:
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}")


@functools.cache
def load_plugins() -> Mapping[str, str]:
    """Import the plugins that are installed; return ``{entry point: why it can't be used}`` of those that failed.

    It searches all installed packages, so it is done once, when the agent starts. A plugin that fails costs its own metrics and one line
    in the log.
    """
    failures: dict[str, str] = {}
    for plugin in entry_points(group=ENTRY_POINT_GROUP):
        try:
            plugin.load()
        except Exception as error:  # a stranger's module may raise anything while it is imported
            failures[plugin.name] = f"{type(error).__name__}: {error}"
            log.warning("left out the collectors plugin %s (%s): %s", plugin.name, plugin.value, failures[plugin.name])
    return failures


_import_builtins()
