"""How an action that touches the machine runs outside the agent: as a unit of systemd of its own, where the helper for that is there.

The agent's own unit may do nothing on the machine. What an action needs is declared beside it (:class:`Transient`), what agent.toml gives it
is in ``[actions.<name>]`` (:func:`limits_of`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Protocol

from edgeagent.commandsettings import ActionLimits
from edgeagent.settings import Settings

if TYPE_CHECKING:
    from edgeagent.actions import Context, Outcome, Run
    from edgeagent.machine import Machine

__all__ = ["AGENT", "CLOSED", "Look", "Transient", "Units", "limits_of", "user_of"]

#: The user of the packaged service.
AGENT = "edgeagent"

#: What all of our own actions do without (systemd.exec(5)). Programs of the device's owner get none of it: they are not ours to judge.
CLOSED = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    "PrivateDevices=yes",
    "PrivateNetwork=yes",
    "ProtectKernelModules=yes",
    "RestrictAddressFamilies=AF_UNIX",
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
)


def _nobody(settings: Settings) -> str:
    return ""


def _nothing(settings: Settings, args: Any) -> tuple[str, ...]:
    return ()


#: ``(settings, machine, arguments) -> ``how it has ended already, or an open file; None: go on.
Look = Callable[[Settings, "Machine", Any], "Outcome | int | None"]


@dataclass(frozen=True, kw_only=True)
class Transient:
    """Where an action runs that touches the machine; it has no leaf there, and its state folder may be out of reach.

    run: what of it is done there. look: what is done as its user without a unit, before; None: nothing. With neither: all of it is.
    named: the user whom the action itself names, empty: none. user: who it is where nobody names one.
    properties: ``Name=value`` of systemd.exec(5), and more: by the settings and the arguments.
    """

    run: Run | None = None
    look: Look | None = None
    named: Callable[[Settings], str] = _nobody
    user: str = AGENT
    properties: tuple[str, ...] = ()
    more: Callable[[Settings, Any], tuple[str, ...]] = _nothing

    @property
    def is_whole(self) -> bool:
        return self.run is None and self.look is None


class Units(Protocol):
    """Has actions run outside the agent (:class:`edgeagent.patterns.unitactions.UnitActions`)."""

    async def run(self, context: Context, action: str, args: Mapping[str, Any], *, content: int | None = None) -> Outcome:
        """How it ended. One of the same id that is there already is followed to its end instead. content: a file to hand over.
        Raises EdgeError when it could not begin."""

    async def look(self, context: Context, action: str, args: Mapping[str, Any]) -> Outcome | int | None:
        """As :data:`Look`. Raises EdgeError."""


def limits_of(settings: Settings, name: str) -> ActionLimits:
    """What agent.toml says of the action: by its own name, else by the longest pattern that fits."""
    if name in settings.actions:
        return settings.actions[name]
    fitting = [pattern for pattern in settings.actions if fnmatchcase(name, pattern)]
    return settings.actions[max(fitting, key=len)] if fitting else ActionLimits()


def user_of(settings: Settings, name: str, unit: Transient) -> str:
    """Who runs it."""
    return unit.named(settings) or limits_of(settings, name).user or unit.user
