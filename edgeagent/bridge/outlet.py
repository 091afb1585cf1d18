"""What a broker is told of this device: the newest value of each series, what its outputs are, and who we are to Home Assistant."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from edgeagent.bridge.discovery import Entities, Places
from edgeagent.bridge.discoverymcus import ATTRIBUTE, Microcontroller
from edgeagent.bridge.homeassistant import SETTLE_SECONDS, HomeAssistant, Publish, chosen
from edgeagent.bridge.mapping import series_topic
from edgeagent.bridge.mcuoutlet import McuOutlet
from edgeagent.sample import Sample

__all__ = ["Outlet"]

#: So many series are published; which others there are is not kept.
MAX_SERIES = 500
#: So many messages at one turn, which there is one of each second.
MAX_TURN = 50
#: Home Assistant is told of changes at most this often, in seconds.
TELL_SECONDS = 5.0
#: How often it is looked at what is no longer measured, in seconds.
LOOK_SECONDS = 60.0


class Outlet:
    """publish: as :meth:`MqttClient.publish`. globs: of the metrics that are wanted. outputs: reads those that may be switched, by name.
    buttons: actions that can be asked for as they are. mcus: the microcontrollers, where Home Assistant is told of them. may: whether an
    action may be asked for. told: what Home Assistant was told before, by topic; it is changed in place. prefix: of Home Assistant's topics;
    empty: it is not told.

    left_out: samples of series that have no room.
    """

    def __init__(
        self,
        publish: Publish,
        places: Places,
        globs: list[str],
        *,
        outputs: Callable[[], Mapping[str, int | None]] = dict,
        buttons: list[str] | None = None,
        mcus: Callable[[], list[Microcontroller]] = list,
        may: Callable[[str], bool] = lambda action: False,
        prefix: str = "",
        told: dict[str, Entities] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publish, self._places, self._clock = publish, places, clock
        self._outputs, self._is_wanted = outputs, chosen(globs)
        self._pending: dict[str, bytes] = {}
        self._series: dict[str, Sample] = {}
        self._pins: dict[str, bytes] = {}
        self._mcus = McuOutlet(publish, places, mcus if prefix else list, may)
        self._home = HomeAssistant(
            publish,
            places,
            prefix,
            {} if told is None else told,
            series=self._series,
            outputs=outputs,
            buttons=buttons or [],
            mcus=lambda: self._mcus.mcus,
            may=may,
            is_wanted=self._is_wanted,
            clock=clock,
        )
        self._known: dict[str, Microcontroller] = {}
        self._due: float | None = clock()
        self._look = clock() + SETTLE_SECONDS
        self.left_out = 0

    def offer(self, samples: list[Sample]) -> None:
        """These were measured."""
        self._mcus.offer(samples)
        for sample in samples:
            if self._is_wanted(sample.metric):
                where = series_topic(self._places.base, sample)
                if where not in self._series:
                    if len(self._series) >= MAX_SERIES:
                        self.left_out += 1
                        continue
                    self._soon()
                self._series[where] = sample
                self._pending[where] = repr(sample.value).encode()

    def connected(self) -> None:
        """The broker may have forgotten what it was told."""
        self._pins.clear()
        self._mcus.connected()
        self._home.connected()
        self._due = self._clock()

    def turn(self) -> bool:
        """Publish what is due, as far as there is room. Call it about once a second while there is a connection. Whether Home Assistant was told
        something that is to be known after a restart."""
        self._look_at_mcus()
        self._tell_outputs()
        self._mcus.turn()
        for where in list(self._pending)[:MAX_TURN]:
            if not self._publish(where, self._pending[where], 1, True):
                return False
            del self._pending[where]
        before = self._home.count
        if self._due is not None and self._clock() >= self._due:
            self._due = None if self._home.describe() else self._clock() + TELL_SECONDS
        elif self._due is None and self._clock() >= self._look:
            self._look = self._clock() + LOOK_SECONDS
            if self._home.is_stale():
                self._soon()
        return self._home.count != before

    def _soon(self) -> None:
        if self._due is None:
            self._due = self._clock() + TELL_SECONDS

    def _look_at_mcus(self) -> None:
        """A series of one that was taken away is nobody's."""
        self._mcus.refresh()
        before, self._known = self._known, self._mcus.mcus
        gone = before.keys() - self._known.keys()
        for where in [each for each, sample in self._series.items() if sample.attributes.get(ATTRIBUTE) in gone]:
            del self._series[where]
            self._pending.pop(where, None)
        if before != self._known:
            self._soon()

    def _tell_outputs(self) -> None:
        for name, value in self._outputs().items():
            payload = b"" if value is None else str(value).encode()
            if self._pins.get(name) != payload and self._publish(self._places.pin(name), payload, 1, True):
                self._pins[name] = payload
