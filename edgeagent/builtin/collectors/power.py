"""Whether a Pi has power enough, and whether it slows down."""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.builtin._throttling import conditions, core_volts
from edgeagent.collectors import Metric, Round, collector
from edgeagent.sample import Sample

UNDERVOLTAGE = Metric(
    "edgeagent.pi.undervoltage",
    "1",
    "1 while the supply voltage of a Pi is too low, else 0: a weak power supply or a thin cable.",
)
THROTTLED = Metric(
    "edgeagent.pi.throttled", "1", "1 while a Pi is slowed down, for want of power or because it is too hot, else 0."
)
VOLTAGE = Metric("hw.voltage", "V", "Voltage of the processor's core, as the firmware of a Pi says.", attributes=("hw.id",))

_SLOW = ("frequency_capped", "throttled", "soft_temperature_limit")


@collector("power", UNDERVOLTAGE, THROTTLED, VOLTAGE)
def collect(round: Round) -> Iterator[Sample]:
    found = {name: now for name, (now, _) in conditions(round.machine).items()}
    if "undervoltage" in found:
        yield UNDERVOLTAGE(int(found["undervoltage"]))
    if "throttled" in found:
        yield THROTTLED(int(any(found[name] for name in _SLOW)))
    volts = core_volts(round.machine)
    if volts is not None:
        yield VOLTAGE(volts, "core")
