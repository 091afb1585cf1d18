"""The firmware's own modules, in this interpreter."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from tests.support.micropython import APP

__all__ = ["board_modules"]


def board_modules(*names: str) -> list[Any]:
    """The modules of ``firmware/app``. Their plain names (``frames``, ``session``) are left to others afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(APP))
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(APP))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(APP)):
                del sys.modules[name]
