"""How hot the processor is."""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.builtin._kernel import celsius
from edgeagent.collectors import Metric, Round, collector
from edgeagent.sample import Sample

TEMPERATURE = Metric("hw.temperature", "Cel", "Temperature of the processor; a Pi slows down at 80 to 85.", attributes=("hw.id",))


@collector("temperature", TEMPERATURE)
def collect(round: Round) -> Iterator[Sample]:
    now = celsius(round.machine)
    if now is not None:
        yield TEMPERATURE(now, "cpu")
