"""CEL filters over a device's facts, evaluated in a process of their own that can be killed."""

from __future__ import annotations

from edgeagent.cel.evaluator import Busy, Evaluator, Limits, Verdict
from edgeagent.cel.expressions import check

__all__ = ["Busy", "Evaluator", "Limits", "Verdict", "check"]
