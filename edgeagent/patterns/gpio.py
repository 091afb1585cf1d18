"""The named pins of agent.toml, switched and read with gpiozero.

A pin that was taken stays the agent's until its process ends: an output keeps its state after the command that switched it, and while
the agent begins anew in the same process. At the end gpiozero makes inputs of them again (its ``atexit``).

gpiozero and lgpio are loaded when a pin is first wanted; most devices have none.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.gpiosettings import PinSettings
from edgeagent.machine import Machine
from edgeagent.patterns.gpioinput import Input
from edgeagent.patterns.gpiosteady import Change
from edgeagent.settings import Settings

__all__ = ["INSTALL", "Pins", "means", "tell_of_outputs"]

INSTALL = "install it beside the agent, for instance with `sudo /opt/edgeagent/bin/pip install 'edgeagent[gpio]'`, and restart it"
_GROUP = "put the agent's user into the group gpio (`sudo usermod -aG gpio edgeagent`) and restart the agent"

#: What gpiozero takes its pins from. Left to itself it would fall back to packages that write to registers behind the kernel's back.
_FACTORY, _LGPIO = "GPIOZERO_PIN_FACTORY", "lgpio"
#: Where lgpio makes a pipe for itself when it is imported. It would take the working folder, which is ``/`` for a service
#: (https://github.com/gpiozero/gpiozero/issues/1106).
_WORKING_FOLDER = "LG_WD"


@dataclass(frozen=True)
class _Taken:
    """device: gpiozero's, an output or an input."""

    wanted: PinSettings
    device: Any


#: By name: pins are the process's, as gpiozero's own register of them is.
_taken: dict[str, _Taken] = {}


def _nobody(name: str, value: int) -> None:
    """Nobody wants to know."""


#: Whom to tell of each output that was switched.
_told: Callable[[str, int], None] = _nobody


def tell_of_outputs(told: Callable[[str, int], None] | None) -> None:
    """Have ``told`` called with name and value whenever an output was switched, whoever did it; None: nobody."""
    global _told
    _told = told or _nobody


class Pins:
    """The pins that ``settings`` name. Names are those of ``[gpio.pins]``; others raise KeyError. 1 is on, 0 is off.

    Everything else raises EdgeError: Refused where a package is missing, Failed where the machine does not let us.
    """

    def __init__(self, settings: Settings, machine: Machine) -> None:
        self._settings, self._machine = settings, machine

    def begin(self) -> Iterator[EdgeError]:
        """Give each output that has an initial state this state, unless it was taken already; what was in the way."""
        for name, wanted in self._settings.gpio.pins.items():
            if wanted.initial is not None and self._held(name) is None:
                try:
                    self._take(name, wanted.initial)
                except EdgeError as error:
                    yield error

    def read(self, name: str) -> int | None:
        """What the pin is. None: it is an output that nothing has switched yet; to ask it would be to switch it."""
        wanted, held = self._settings.gpio.pins[name], self._held(name)
        if held is None and wanted.direction == "output":
            return None
        with _in_our_words(f"read the pin {name}"):
            return int(bool((held or self._take(name)).pin.state) == wanted.active_high)

    def write(self, name: str, value: int) -> None:
        """Switch an output."""
        held = self._held(name)
        if held is None:
            self._take(name, value)
        else:
            with _in_our_words(f"switch the pin {name}"):
                held.value = value
        _told(name, value)

    def watched(self, name: str, on_changes: Callable[[list[Change]], None]) -> Input:
        """An input that is taken, to be run. on_changes: as for :class:`~edgeagent.patterns.gpioinput.Input`."""
        wanted = self._settings.gpio.pins[name]
        held = self._held(name) or self._take(name)
        return Input(
            held.pin,
            self.read(name) or 0,
            on_when_high=wanted.active_high,
            debounce_seconds=wanted.debounce_seconds,
            read=lambda: self.read(name),
            on_changes=on_changes,
        )

    def _held(self, name: str) -> Any:
        """gpiozero's device, None when there is none, or one of other settings."""
        taken = _taken.get(name)
        return taken.device if taken and taken.wanted == self._settings.gpio.pins[name] and not taken.device.closed else None

    def _take(self, name: str, value: int = 0) -> Any:
        wanted = self._settings.gpio.pins[name]
        gpiozero = self._library()
        with _in_our_words(f"take the pin {name}"):
            if (former := _taken.pop(name, None)) is not None:
                former.device.close()
            device = _output(gpiozero, wanted, value) if wanted.direction == "output" else _input(gpiozero, wanted)
        _taken[name] = _Taken(wanted, device)
        return device

    def _library(self) -> Any:
        """gpiozero, with a way to the pins."""
        os.environ.setdefault(_FACTORY, _LGPIO)
        os.environ.setdefault(_WORKING_FOLDER, str(self._settings.runtime_folder))
        try:
            import gpiozero

            with _same_folder():
                gpiozero.Device.ensure_pin_factory()
        except ModuleNotFoundError as error:
            raise Refused("use the pins", f"the package {error.name} is not installed", INSTALL) from None
        except Exception as error:  # lgpio has errors of its own, gpiozero many
            raise _no_way(self._machine, str(error)) from error
        return gpiozero


def _output(gpiozero: Any, wanted: PinSettings, value: int) -> Any:
    return gpiozero.OutputDevice(wanted.pin, active_high=wanted.active_high, initial_value=bool(value))


def _input(gpiozero: Any, wanted: PinSettings) -> Any:
    """Its value is not used: with a resistor gpiozero decides itself whether high is 1 (:meth:`Pins.read` does by the settings)."""
    if wanted.pull == "none":
        return gpiozero.InputDevice(wanted.pin, pull_up=None, active_state=True)
    return gpiozero.InputDevice(wanted.pin, pull_up=wanted.pull == "up")


def means(machine: Machine) -> EdgeError | None:
    """What this process lacks to reach a pin, as far as can be seen without taking one; None: nothing."""
    from importlib.util import find_spec  # seldom wanted

    real = os.environ.get(_FACTORY, _LGPIO) == _LGPIO
    for package in ("gpiozero", _LGPIO) if real else ("gpiozero",):
        if find_spec(package) is None:
            return Refused("use the pins", f"the package {package} is not installed", INSTALL)
    return _no_chip(machine) if real else None


def _no_chip(machine: Machine) -> EdgeError | None:
    chips = sorted(machine.path("/dev").glob("gpiochip*"))
    if not chips:
        return Failed(
            "use the pins", "this machine has none: there is no /dev/gpiochip0", "on a Raspberry Pi its kernel makes it"
        )
    if not any(os.access(chip, os.R_OK | os.W_OK) for chip in chips):
        return Failed("use the pins", f"this user may not open {chips[0]}", _GROUP)
    return None


def _no_way(machine: Machine, why: str) -> EdgeError:
    return _no_chip(machine) or Failed("use the pins", why, _GROUP)


@contextlib.contextmanager
def _in_our_words(what: str) -> Iterator[None]:
    try:
        yield
    except EdgeError:
        raise
    except Exception as error:  # the library's, and lgpio's, which are no subclasses of anything
        raise Failed(what, str(error) or type(error).__name__) from error


@contextlib.contextmanager
def _same_folder() -> Iterator[None]:
    """lgpio goes to its folder when it is imported, and stays there."""
    before = Path.cwd()
    try:
        yield
    finally:
        os.chdir(before)
