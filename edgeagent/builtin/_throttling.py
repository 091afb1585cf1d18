"""Whether a Pi suffers now and since boot, as whoever knows best says.

Three sources, the best first. The firmware (``vcgencmd get_throttled``, asked through :mod:`._mailbox`) keeps the history since boot.
The kernel's ``rpi_volt`` sensor is readable by everybody but tells of the voltage alone (drivers/hwmon/raspberrypi-hwmon.c). The
file ``get_throttled`` is for old kernels without that sensor: in later ones reading it leaves a warning with a stack trace in the
kernel's log, its history is wiped by the sensor's driver every 2 s, and the newest kernels have it no more.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeagent.builtin import _mailbox
from edgeagent.builtin._kernel import children
from edgeagent.machine import Machine

__all__ = ["CONDITIONS", "conditions", "core_volts"]

_GET_THROTTLED = "/sys/devices/platform/soc/soc:firmware/get_throttled"

#: Bits of get_throttled that hold now; the same condition since boot is 16 bits higher (vcgencmd(1)).
CONDITIONS = {"undervoltage": 0, "frequency_capped": 1, "throttled": 2, "soft_temperature_limit": 3}
_HISTORY_SHIFT = 16


def conditions(
    machine: Machine, ask_firmware: Callable[[Machine, str], str | None] = _mailbox.ask
) -> dict[str, tuple[bool, bool]]:
    """``{condition: (now, since boot)}`` of the conditions that this machine can tell."""
    answer = ask_firmware(machine, "get_throttled")
    bits = parse_hexadecimal(answer.partition("=")[2]) if answer and answer.startswith("throttled=") else None
    if bits is not None:
        return decode(bits)
    alarm = _undervoltage_alarm(machine)
    if alarm is not None:
        return {"undervoltage": (alarm, alarm)}
    bits = parse_hexadecimal(machine.text(_GET_THROTTLED) or "")
    return {} if bits is None else decode(bits)


def core_volts(machine: Machine, ask_firmware: Callable[[Machine, str], str | None] = _mailbox.ask) -> float | None:
    """The voltage of the processor's core (``vcgencmd measure_volts core``: ``volt=0.8500V``), None where nobody says so."""
    answer = ask_firmware(machine, "measure_volts core") or ""
    try:
        return float(answer.partition("=")[2].rstrip("V"))
    except ValueError:
        return None


def decode(bits: int) -> dict[str, tuple[bool, bool]]:
    """``{condition: (now, since boot)}`` of the firmware's bit field."""
    return {name: (bool(bits >> bit & 1), bool(bits >> (bit + _HISTORY_SHIFT) & 1)) for name, bit in CONDITIONS.items()}


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
