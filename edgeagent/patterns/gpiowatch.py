"""The named pins as metrics and events: inputs are watched, outputs told when they are switched. What can't be taken is tried again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from edgeagent.backoff import delays
from edgeagent.errors import EdgeError, Failed
from edgeagent.gpiosettings import PinSettings
from edgeagent.patterns.gpio import Pins, tell_of_outputs
from edgeagent.patterns.gpioinput import MAX_EDGES_A_SECOND, Input
from edgeagent.patterns.gpiosteady import Change
from edgeagent.ratelimit import RateLimits
from edgeagent.runtime import Tasks, jittered, woken
from edgeagent.sample import COUNTER, Sample

__all__ = ["SOURCE", "GpioWatch"]

#: Whose these samples are.
SOURCE = "gpio"
#: Events of one pin: so many at once, and a second in the long run; of all together four times as many. The rest is counted.
EVENTS, EVENTS_A_SECOND = 10, 0.1
#: Samples of one pin because it changed; its state is sampled anyway.
SAMPLES, SAMPLES_A_SECOND = 50, 5.0
#: Bounds of the pause after a pin could not be taken, in seconds.
RETRY_SECONDS = (1.0, 60.0)


class GpioWatch:
    """pins, named: those of ``[gpio.pins]``. take: as :meth:`Sampler.take <edgeagent.patterns.sampler.Sampler.take>`.
    tell: as :meth:`Events.tell <edgeagent.patterns.events.Events.tell>`. on_problems: gets what is in the way, whenever that changes."""

    def __init__(
        self,
        pins: Pins,
        named: dict[str, PinSettings],
        *,
        interval_seconds: float,
        take: Callable[[str, list[Sample]], None],
        tell: Callable[..., None],
        on_problems: Callable[[list[EdgeError]], None] = lambda problems: None,
    ) -> None:
        self._pins, self._named = pins, named
        self._interval_seconds = interval_seconds
        self._take, self._tell, self._on_problems = take, tell, on_problems
        self._inputs: dict[str, Input] = {}
        self._outputs: dict[str, int] = {}
        self._problems: dict[str, EdgeError] = {}
        self._events, self._sampled = RateLimits(EVENTS_A_SECOND, EVENTS), RateLimits(SAMPLES_A_SECOND, SAMPLES)
        self._left_out: dict[str, int] = {}
        self._missed: dict[str, tuple[int, int]] = {}
        self._swings: dict[str, int] = {}
        self._changed = asyncio.Event()

    def start(self, tasks: Tasks) -> None:
        """Watch from now on, until ``tasks`` are closed. Nothing is loaded where no pin is named."""
        if not self._named:
            return
        tell_of_outputs(self._switched)
        tasks.start("samples of pins", self._rounds())
        for name, wanted in self._named.items():
            if wanted.direction == "input" and (wanted.metric or wanted.count or wanted.event != "none"):
                tasks.start(f"pin {name}", self._watch(name))
            elif wanted.initial is not None:
                tasks.start(f"pin {name}", self._begin(name, wanted.initial))

    def set_interval(self, seconds: float) -> None:
        """Sample so often from now on."""
        if seconds != self._interval_seconds:
            self._interval_seconds = seconds
            self._changed.set()

    # ---- taking pins ----

    async def _watch(self, name: str) -> None:
        for pause in delays(*RETRY_SECONDS):
            try:
                found = self._pins.watched(name, lambda changes: self._inputs_changed(name, changes))
                self._inputs[name] = found
                self._good(name)
                self._sample([name])
                await found.run()
            except EdgeError as error:
                self._gone(name, error)
            except Exception as error:  # the library's, and lgpio's, which are no subclasses of anything
                self._gone(name, Failed(f"watch the pin {name}", str(error) or type(error).__name__))
            await asyncio.sleep(jittered(pause))

    async def _begin(self, name: str, value: int) -> None:
        """An output that could not be given its initial state when the agent started gets it when it can be taken."""
        for pause in delays(*RETRY_SECONDS):
            try:
                if self._pins.read(name) is None:
                    self._pins.write(name, value)
                self._good(name)
                return
            except EdgeError as error:
                self._bad(name, error, tell=False)  # as gpio.not_set, when the agent started
            await asyncio.sleep(jittered(pause))

    def _gone(self, name: str, error: EdgeError) -> None:
        self._inputs.pop(name, None)
        self._missed.pop(name, None)
        self._swings.pop(name, None)
        self._bad(name, error)

    def _good(self, name: str) -> None:
        if self._problems.pop(name, None) is not None:
            self._tell("info", "gpio.taken", f"the pin {name} is good now", pin=name)
            self._on_problems(list(self._problems.values()))

    def _bad(self, name: str, error: EdgeError, *, tell: bool = True) -> None:
        is_new = name not in self._problems
        self._problems[name] = error
        if is_new and tell:
            self._tell("error", "gpio.not_taken", str(error), pin=name)
        self._on_problems(list(self._problems.values()))

    def _look_at_swings(self) -> None:
        """A wire that swings is no problem of taking the pin, but one to be seen."""
        for name, found in self._inputs.items():
            if found.swings != self._swings.get(name, 0):
                self._swings[name] = found.swings
                self._bad(name, _swings(name))
            elif found.swings:
                self._good(name)

    # ---- what is told ----

    def _inputs_changed(self, name: str, changes: list[Change]) -> None:
        self._count_missed(name)
        ago = time.time() - time.monotonic()
        for change in changes:
            self._state(name, change.level, change.time + ago)
            if self._is_event(name, change.level):
                self._event(name, change.level)

    def _is_event(self, name: str, level: int) -> bool:
        return self._named[name].event in ("both", "rising" if level else "falling")

    def _count_missed(self, name: str) -> None:
        now, before = self._inputs[name].missed, self._missed.get(name, (0, 0))
        self._missed[name] = now
        if lost := sum(now[level] - before[level] for level in (0, 1) if self._is_event(name, level)):
            self._left_out[name] = self._left_out.get(name, 0) + lost

    def _switched(self, name: str, value: int) -> None:
        if name in self._named and self._outputs.get(name) != value:
            self._outputs[name] = value
            self._state(name, value, time.time())

    def _state(self, name: str, value: int, moment: float) -> None:
        if self._named[name].metric and self._sampled.allow(name):
            self._take(SOURCE, [_state_of(name, value, round(max(0.0, moment), 3))])

    def _event(self, name: str, value: int) -> None:
        if self._events.allow(name):
            self._tell_event(name, value)
        else:
            self._left_out[name] = self._left_out.get(name, 0) + 1

    def _tell_event(self, name: str, value: int) -> None:
        left_out = self._left_out.pop(name, 0)
        more = f"; {left_out} changes before were not told" if left_out else ""
        data = {"left_out": left_out} if left_out else {}
        self._tell("info", "gpio.changed", f"the pin {name} is {'on' if value else 'off'}{more}", pin=name, value=value, **data)

    def _catch_up(self) -> None:
        """Say how a pin is whose last changes were not told."""
        for name in [name for name in self._left_out if name in self._inputs]:
            if self._events.allow(name):
                self._tell_event(name, self._inputs[name].level)

    async def _rounds(self) -> None:
        try:
            while True:
                self._sample(self._named)
                self._catch_up()
                self._look_at_swings()
                await woken(self._changed, self._interval_seconds)
        finally:
            tell_of_outputs(None)

    def _sample(self, names: Iterable[str]) -> None:
        now = round(time.time(), 3)
        self._take(SOURCE, [sample for name in names for sample in self._samples_of(name, now)])

    def _samples_of(self, name: str, now: float) -> list[Sample]:
        wanted, found = self._named[name], self._inputs.get(name)
        value = found.level if found else self._value_of_output(name)
        samples = [_state_of(name, value, now)] if wanted.metric and value is not None else []
        if found and wanted.count:
            samples.append(Sample("gpio.edges", found.ons, {"pin": name}, now, "{edge}", COUNTER))
        return samples

    def _value_of_output(self, name: str) -> int | None:
        """None: nothing has switched it, or it can't be read."""
        try:
            return self._pins.read(name) if self._named[name].direction == "output" else None
        except EdgeError:
            return None


def _state_of(name: str, value: int, moment: float) -> Sample:
    return Sample("gpio.state", value, {"pin": name}, moment)


def _swings(name: str) -> EdgeError:
    return Failed(
        f"listen to the pin {name} all the time",
        f"it changes more than {MAX_EDGES_A_SECOND} times a second",
        f"set `gpio.pins.{name}.debounce_seconds`, or see to its wire",
    )
