"""Shows on one of the board's LEDs how the agent is. The kernel blinks: the agent only chooses the LED's trigger when something changed.

An LED whose trigger is ``none`` although we did not choose that is somebody else's for the moment, as the action ``identify`` has it: it is left alone until
it is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from edgeagent import files
from edgeagent.builtin._led import chosen, led, names
from edgeagent.errors import EdgeError
from edgeagent.identity import boot_id
from edgeagent.machine import Machine
from edgeagent.runtime import woken

__all__ = ["FILE", "Light", "StatusLed"]

log = logging.getLogger("edgeagent")

#: In the state folder: how the LED was found. It must be known also after an end by SIGKILL, and /run/edgeagent goes with the service.
FILE = "status-led.json"
#: How soon to look again at an LED that somebody else has, in seconds.
AGAIN_SECONDS = 1.0
_NONE = "none"
_WHAT = "show the agent's state on an LED"


class Light(str, Enum):
    """The kernel's trigger for each state: dark, steady, two flashes and a pause, half a second on and off."""

    STARTING = _NONE
    LINKED = "default-on"
    UNLINKED = "heartbeat"
    TROUBLE = "timer"


class _Found(NamedTuple):
    """How an LED was before we had it, in the boot of this id."""

    led: str
    trigger: str
    brightness: str
    boot: str


class StatusLed:
    """One LED. name: as in /sys/class/leds; empty: none, and only what an earlier run did not give back is. state: the folder for :data:`FILE`."""

    def __init__(self, machine: Machine, name: str, state: Path) -> None:
        self._machine, self._name, self._file = machine, name, state / FILE
        self._wanted, self._shown = Light.STARTING, ""
        self._changed = asyncio.Event()
        self._said = ""

    def show(self, light: Light) -> None:
        """Show this from now on."""
        if light is not self._wanted:
            self._wanted = light
            self._changed.set()

    async def keep(self) -> None:
        """Show what is to be shown, for ever."""
        self._take()
        while self._name:
            is_free = self._try()
            await woken(self._changed, None if is_free else AGAIN_SECONDS)

    def close(self) -> None:
        """Leave the LED as it was found; if somebody else has it now, the next run does."""
        found = self._found()
        if found is not None:
            with contextlib.suppress(OSError):
                self._give_back(found)

    def _take(self) -> None:
        """Remember how the LED is, before it is touched. One that an earlier run left in its care goes back first."""
        found = self._found()
        if found is not None and found.led != self._name:
            self.close()
            found = None
        folder = led(self._machine, self._name) if self._name else None
        if folder is None or found is not None:
            return
        with contextlib.suppress(OSError, EdgeError):
            trigger, brightness = chosen((folder / "trigger").read_text()), (folder / "brightness").read_text().strip()
            now = _Found(self._name, trigger, brightness, boot_id(self._machine))
            files.write_atomic(self._file, json.dumps(now._asdict()).encode())

    def _try(self) -> bool:
        """Show it; False when somebody else has the LED."""
        try:
            return self._show()
        except OSError as error:
            self._complain(f"{error.strerror}: {error.filename or self._name}")
        return True

    def _show(self) -> bool:
        folder = led(self._machine, self._name)
        if folder is None:
            self._complain(f"there is no {self._name}; there are: {', '.join(names(self._machine)) or 'none'}")
            return True
        now = chosen((folder / "trigger").read_text())
        if now == _NONE and self._shown not in ("", _NONE):
            return False
        (folder / "trigger").write_text(self._wanted.value)
        if self._wanted.value == _NONE:
            (folder / "brightness").write_text("0")
        self._shown = self._wanted.value
        return True

    def _give_back(self, found: _Found) -> None:
        folder = led(self._machine, found.led)
        now = chosen((folder / "trigger").read_text()) if folder else ""
        if folder and now == _NONE and self._shown not in ("", _NONE):
            return
        if folder and now in [light.value for light in Light]:
            (folder / "trigger").write_text(found.trigger)
            if found.trigger == _NONE:
                (folder / "brightness").write_text(found.brightness)
        self._file.unlink(missing_ok=True)

    def _found(self) -> _Found | None:
        """What is remembered of this boot: the next one begins with the LED as the kernel has it."""
        with contextlib.suppress(ValueError, TypeError, EdgeError):
            found = _Found(**json.loads(files.read_if_there(self._file) or b"null"))
            return found if found.boot == boot_id(self._machine) else None
        return None

    def _complain(self, why: str) -> None:
        if why != self._said:
            log.warning(
                "cannot %s: %s. `agent.status_led` in agent.toml names it; docs/actions.md says what right it needs", _WHAT, why
            )
        self._said = why
