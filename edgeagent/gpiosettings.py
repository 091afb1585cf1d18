"""The pins that a device's owner named: the section ``[gpio]`` of agent.toml, which the hub can't change (:mod:`edgeagent.schema`).

What has no name here can't be reached.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgeagent.sections import Section

__all__ = ["PIN_NAME", "PIN_NAME_RULE", "GpioSettings", "PinSettings"]

PIN_NAME = r"^[a-z][a-z0-9_-]{0,31}\Z"
PIN_NAME_RULE = "1 to 32 of a-z, 0-9, '_' and '-', beginning with a letter"

#: gpiozero's names for a pin (its page "Basic recipes", pin numbering), but for those that nobody uses.
_PIN = re.compile(r"(GPIO|BCM|BOARD)?([0-9]{1,3})\Z")
#: Which GPIO is behind which place of the 40-pin header (Raspberry Pi documentation, "GPIO and the 40-pin header"). Boards of 2012 and
#: the first Compute Modules differ: there gpiozero refuses a pin that has two names.
_PLACES = (3, 5, 7, 8, 10, 11, 12, 13, 15, 16, 18, 19, 21, 22, 23, 24, 26, 27, 28, 29, 31, 32, 33, 35, 36, 37, 38, 40)
_GPIOS = (2, 3, 4, 14, 15, 17, 18, 27, 22, 23, 24, 10, 9, 25, 11, 8, 7, 0, 1, 5, 6, 12, 13, 19, 16, 26, 20, 21)
_BOARD = dict(zip(_PLACES, _GPIOS, strict=True))


class PinSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pin: Annotated[
        int | str, Meta(description='As gpiozero calls it: `17` or `"GPIO17"`, or `"BOARD11"` for its place on the header.')
    ]
    direction: Annotated[
        Literal["input", "output"],
        Meta(description="`output`: commands may switch it. `input`: they may read it, and the agent watches it."),
    ]
    active_high: Annotated[
        bool,
        Meta(
            description="Whether 1 is high voltage. `false` for a relay that is on when its input is low, or a button to ground."
        ),
    ] = True
    pull: Annotated[Literal["none", "up", "down"], Meta(description="The resistor inside the board, for an input.")] = "none"
    initial: Annotated[
        Literal[0, 1] | None,
        Meta(
            description="What an output is from the start of the agent on. Unset: the pin is left alone until the first command."
        ),
    ] = None
    max_pulse_seconds: Annotated[
        float, Meta(description="The longest that `gpio.pulse` may leave an output on.", gt=0, le=3600)
    ] = 60.0
    debounce_seconds: Annotated[
        float, Meta(description="How long an input must stay on or off before that counts: contacts bounce.", ge=0, le=10)
    ] = 0.05
    metric: Annotated[
        bool,
        Meta(description="Whether its state is the metric `gpio.state{pin=<name>}`: at each change, and whenever it is sampled."),
    ] = True
    event: Annotated[
        Literal["none", "rising", "falling", "both"],
        Meta(description="When an input tells the hub with the event `gpio.changed`: when it goes on, off, or both."),
    ] = "none"
    count: Annotated[
        bool,
        Meta(
            description="Whether the metric `gpio.edges{pin=<name>}` counts how often an input went on, as for a meter's pulses."
        ),
    ] = False

    def __post_init__(self) -> None:
        if not _PIN.match(str(self.pin)):
            raise ValueError(f'pin = {self.pin!r}: it must be a pin such as 17, "GPIO17" or "BOARD11"')
        if self.direction == "output" and self.pull != "none":
            raise ValueError(f"pull = {self.pull!r}: only an input has one")
        if self.direction == "input" and self.initial is not None:
            raise ValueError(f"initial = {self.initial!r}: only an output has one")
        if self.direction == "output" and self.event != "none":
            raise ValueError(f"event = {self.event!r}: only an input has one")
        if self.direction == "output" and self.count:
            raise ValueError("count = true: only an input is counted")

    @property
    def place(self) -> str:
        """``GPIO17``, whichever of its names was written; of a place that is no GPIO on a 40-pin header just that."""
        kind, number = _PIN.findall(str(self.pin))[0]
        gpio = _BOARD.get(int(number)) if kind == "BOARD" else int(number)
        return str(self.pin) if gpio is None else f"GPIO{gpio}"


_PinName = Annotated[str, Meta(pattern=PIN_NAME, extra={"form": PIN_NAME_RULE})]


class GpioSettings(Section, frozen=True, kw_only=True):
    pins: Annotated[
        dict[_PinName, PinSettings],
        Meta(
            description="The pins that commands may reach (`gpio.read`, `gpio.write`, `gpio.pulse`), each a table `[gpio.pins.<name>]`. [actions.md](actions.md)",
            max_length=64,
        ),
    ] = {}

    def __post_init__(self) -> None:
        taken: dict[str, str] = {}
        for name, pin in self.pins.items():
            other = taken.setdefault(pin.place, name)
            if other != name:
                raise ValueError(f"pins.{name}.pin = {pin.pin!r}: {pin.place} is {other!r} already")
