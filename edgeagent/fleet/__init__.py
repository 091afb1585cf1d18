"""The operator's side: ask the fleet, read what the hub keeps, watch it change."""

from __future__ import annotations

from edgeagent.fleet.client import Fleet
from edgeagent.fleet.outcome import Outcome, Row
from edgeagent.fleet.states import State
from edgeagent.fleet.watch import Change

__all__ = ["Change", "Fleet", "Outcome", "Row", "State"]
