"""What a device can be told to do: one self-registering file an action. Importing this package registers them all.

Other people's actions are modules named in the entry point group ``edgeagent.actions`` (:func:`load_plugins`), programs in any language
in a folder of the device (:mod:`edgeagent.builtin.actions.plugin`), or programs that run there and answer on the leaf
(:mod:`edgeagent.builtin.actions.app`). A module whose name begins with ``_`` is shared by several actions and registers nothing.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping

from edgeagent import plugins

__all__ = ["ENTRY_POINT_GROUP", "load_plugins"]

log = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "edgeagent.actions"


@functools.cache
def load_plugins() -> Mapping[str, str]:
    """Import the plugins that are installed; return ``{entry point: why it can't be used}`` of those that failed.

    It searches all installed packages, so it is done once, when actions are first wanted. A plugin that fails costs its own actions and
    one line in the log.
    """
    return plugins.load(ENTRY_POINT_GROUP, "actions", log)


plugins.import_own(__name__, __path__)
