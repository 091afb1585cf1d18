"""The mark of tests that evaluate filters: PyPI has no CEL engine for Python 3.10."""

from __future__ import annotations

import importlib.util

import pytest

__all__ = ["needs_engine"]

needs_engine = pytest.mark.skipif(importlib.util.find_spec("cel") is None, reason="the CEL engine is not made for this Python")
