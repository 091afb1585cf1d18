"""What a device knows about itself: one self-registering file a provider. Importing this package registers them all.

Other people's providers are modules named in the entry point group ``edgeagent.facts``; :func:`load_plugins` imports them. A module
whose name begins with ``_`` is shared by several providers and registers nothing.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping

from edgeagent import plugins

__all__ = ["ENTRY_POINT_GROUP", "load_plugins"]

log = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "edgeagent.facts"


@functools.cache
def load_plugins() -> Mapping[str, str]:
    """Import the plugins that are installed; return ``{entry point: why it can't be used}`` of those that failed.

    It searches all installed packages, so it is done once, when facts are first wanted, and not at import. A plugin that fails
    costs its own facts and one line in the log.
    """
    return plugins.load(ENTRY_POINT_GROUP, "facts", log)


plugins.import_own(__name__, __path__)
