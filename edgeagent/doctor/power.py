"""Whether a Pi has power enough, and is cool enough."""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.assembly.findings import Finding
from edgeagent.builtin._throttling import conditions
from edgeagent.doctor.check import Case, Check, Patient

__all__ = ["POWER", "judge", "read"]

_SUPPLY = "use the power supply that is made for this Pi, and a short thick cable; unplug what draws much from its USB ports"
_COOL = "give it a cooler or a fan, or more air: `vcgencmd measure_temp`"

GOOD = Case("good", "the voltage is right")
LOW = Case(
    "wrong",
    "the supply voltage is too low now",
    _SUPPLY,
    "The Pi slows down, may reset at any moment, and writes garbage to its card.",
)
WAS_LOW = Case("warn", "the supply voltage was too low since this machine started", _SUPPLY)
SLOW = Case("warn", "the processor is slowed down now, for it is too hot or has too little power", _COOL)
WAS_SLOW = Case("warn", "the processor was slowed down since this machine started, for it was too hot", _COOL)

_HEAT = ("frequency_capped", "throttled", "soft_temperature_limit")


def read(patient: Patient) -> dict[str, tuple[bool, bool]]:
    return conditions(patient.machine)


def judge(found: dict[str, tuple[bool, bool]]) -> Iterator[Finding]:
    """found: ``{condition: (now, since boot)}``, empty where nobody tells: this is no Pi."""
    if not found:
        return
    low, was_low = found.get("undervoltage", (False, False))
    slow = any(found.get(name, (False, False))[0] for name in _HEAT)
    was_slow = any(found.get(name, (False, False))[1] for name in _HEAT)
    worries = []
    if low or was_low:
        worries.append(LOW() if low else WAS_LOW())
    if slow:
        worries.append(SLOW())
    elif was_slow and not was_low:  # too little voltage caps the frequency as well
        worries.append(WAS_SLOW())
    yield from worries or [GOOD()]


POWER = Check(
    "power",
    "What the firmware of a Raspberry Pi says of its supply voltage and of throttling, now and since boot (`vcgencmd get_throttled`).",
    (read,),
    judge,
    (GOOD, LOW, WAS_LOW, SLOW, WAS_SLOW),
    alone=True,
)
