"""Whether the Pi suffers: too little voltage, too hot, slowed down.

What the sources of :mod:`edgeagent.builtin._throttling` can't remember is remembered here, for as long as the agent runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from edgeagent.builtin import _mailbox
from edgeagent.builtin._throttling import CONDITIONS, conditions
from edgeagent.identity import boot_id
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts
from edgeagent.times import rfc3339

__all__ = ["Throttling"]

_SAYS = {
    "undervoltage": "the supply voltage is too low: a weak power supply or a thin cable",
    "frequency_capped": "the processor's frequency is capped",
    "throttled": "the processor is slowed down",
    "soft_temperature_limit": "the processor is above its soft temperature limit",
}


def _fields() -> list[Field]:
    now = [Field(f"throttling.{name}_now", "bool", f"Now {_SAYS[name]}.", volatile=True) for name in CONDITIONS]
    history = [
        Field(
            f"throttling.{name}_since_boot",
            "bool",
            f"At some time since boot (as the firmware knows, else the agent): {_SAYS[name]}.",
        )
        for name in CONDITIONS
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
        now_and_before = conditions(machine, self._ask_firmware)
        key = (machine, boot_id(machine))
        seen = self._seen.setdefault(key, set())
        seen.update(name for name, (now, before) in now_and_before.items() if now or before)
        if seen:
            self._since.setdefault(key, rfc3339(self._now()))
        found: dict[str, Any] = {}
        for name, (now, _) in now_and_before.items():
            found[f"throttling.{name}_now"] = now
            found[f"throttling.{name}_since_boot"] = name in seen
        return {**found, "throttling.since": self._since[key]} if seen else found


facts("throttling", *_fields())(Throttling())
