"""Whether the Pi suffers: too little voltage, too hot, slowed down.

Three sources, the best first. The firmware (``vcgencmd get_throttled``, asked through :mod:`._mailbox`) keeps the history since boot.
The kernel's ``rpi_volt`` sensor is readable by everybody but tells of the voltage alone (drivers/hwmon/raspberrypi-hwmon.c). The
file ``get_throttled`` is for old kernels without that sensor: in later ones reading it leaves a warning with a stack trace in the
kernel's log, its history is wiped by the sensor's driver every 2 s, and the newest kernels have it no more. What the last two
can't remember is remembered here, for as long as the agent runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from edgeagent.builtin import _mailbox
from edgeagent.builtin._kernel import children
from edgeagent.identity import boot_id
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts
from edgeagent.times import rfc3339

__all__ = ["Throttling"]

_GET_THROTTLED = "/sys/devices/platform/soc/soc:firmware/get_throttled"

#: Bits of get_throttled that hold now; the same condition since boot is 16 bits higher (vcgencmd(1)).
_CONDITIONS = {"undervoltage": 0, "frequency_capped": 1, "throttled": 2, "soft_temperature_limit": 3}
_HISTORY_SHIFT = 16

_SAYS = {
    "undervoltage": "the supply voltage is too low: a weak power supply or a thin cable",
    "frequency_capped": "the processor's frequency is capped",
    "throttled": "the processor is slowed down",
    "soft_temperature_limit": "the processor is above its soft temperature limit",
}


def _fields() -> list[Field]:
    now = [Field(f"throttling.{name}_now", "bool", f"Now {_SAYS[name]}.", volatile=True) for name in _CONDITIONS]
    history = [
        Field(
            f"throttling.{name}_since_boot",
            "bool",
            f"At some time since boot (as the firmware knows, else the agent): {_SAYS[name]}.",
        )
        for name in _CONDITIONS
    ]
    since = Field("throttling.since", "timestamp", "When this agent first saw any of these since boot; the device's own clock.")
    return [*now, *history, since]


class Throttling:
    """The provider. It remembers, a machine and a boot, what was seen and when first.

    ask_firmware: asks the firmware a vcgencmd command; None = there is none to ask. now: the clock.
    """

    def __init__(
        self,
        *,
        ask_firmware: Callable[[Machine, str], str | None] = _mailbox.ask,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._ask_firmware, self._now = ask_firmware, now
        self._seen: dict[tuple[Machine, str], set[str]] = {}
        self._since: dict[tuple[Machine, str], str] = {}

    def __call__(self, machine: Machine) -> Mapping[str, Any]:
        conditions = self._conditions(machine)
        key = (machine, boot_id(machine))
        seen = self._seen.setdefault(key, set())
        seen.update(name for name, (now, before) in conditions.items() if now or before)
        if seen:
            self._since.setdefault(key, rfc3339(self._now()))
        found: dict[str, Any] = {}
        for name, (now, _) in conditions.items():
            found[f"throttling.{name}_now"] = now
            found[f"throttling.{name}_since_boot"] = name in seen
        return {**found, "throttling.since": self._since[key]} if seen else found

    def _conditions(self, machine: Machine) -> dict[str, tuple[bool, bool]]:
        """``{condition: (now, since boot)}`` of the conditions that this machine can tell."""
        answer = self._ask_firmware(machine, "get_throttled")
        bits = parse_hexadecimal(answer.partition("=")[2]) if answer and answer.startswith("throttled=") else None
        if bits is not None:
            return decode(bits)
        alarm = _undervoltage_alarm(machine)
        if alarm is not None:
            return {"undervoltage": (alarm, alarm)}
        bits = parse_hexadecimal(machine.text(_GET_THROTTLED) or "")
        return {} if bits is None else decode(bits)


def decode(bits: int) -> dict[str, tuple[bool, bool]]:
    """``{condition: (now, since boot)}`` of the firmware's bit field."""
    return {name: (bool(bits >> bit & 1), bool(bits >> (bit + _HISTORY_SHIFT) & 1)) for name, bit in _CONDITIONS.items()}


def parse_hexadecimal(text: str) -> int | None:
    """``0x50000`` or ``50000`` (both are hexadecimal here) as a number, None for anything else."""
    try:
        return int(text, 16)
    except ValueError:
        return None


def _undervoltage_alarm(machine: Machine) -> bool | None:
    # Sensors are numbered in the order in which their drivers came up: only the name tells which it is.
    for sensor in children(machine, "/sys/class/hwmon"):
        if machine.text(f"{sensor}/name") == "rpi_volt":
            alarm = machine.integer(f"{sensor}/in0_lcrit_alarm")
            return None if alarm is None else alarm != 0
    return None


facts("throttling", *_fields())(Throttling())
