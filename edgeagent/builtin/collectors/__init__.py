"""What a device measures: one self-registering file a collector. Importing this package registers them all.

Other people's collectors are modules named in the entry point group ``edgeagent.collectors`` (:func:`load_plugins`), or programs in any
language in a folder of the device (:mod:`edgeagent.patterns.programcollectors`). A module whose name begins with ``_`` is shared by
several collectors and registers nothing.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping

from edgeagent import plugins

__all__ = ["ENTRY_POINT_GROUP", "load_plugins"]

log = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "edgeagent.collectors"


@functools.cache
def load_plugins() -> Mapping[str, str]:
    """Import the plugins that are installed; return ``{entry point: why it can't be used}`` of those that failed.

    It searches all installed packages, so it is done once, when the agent starts. A plugin that fails costs its own metrics and one line
    in the log.
    """
    return plugins.load(ENTRY_POINT_GROUP, "collectors", log)


plugins.import_own(__name__, __path__)
