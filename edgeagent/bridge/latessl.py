"""``ssl`` for those who mostly do without TLS, but have to ask whether something is ssl's: before OpenSSL is loaded, which is 5 MiB, nothing is."""

from __future__ import annotations

import importlib
import sys
from typing import Any

__all__ = ["LateSsl", "ssl"]


class _Nothing(Exception):
    pass


class LateSsl:
    """The module, but that before it is loaded its errors and its socket are a class that nothing is of."""

    def __getattr__(self, name: str) -> Any:
        if "_ssl" not in sys.modules and (name == "SSLSocket" or name.endswith("Error")):
            return _Nothing
        return getattr(importlib.import_module("ssl"), name)


ssl = LateSsl()
