"""What a broker is told of the microcontrollers: whether each is there, and whether what it switches is on."""

from __future__ import annotations

from collections.abc import Callable

from edgeagent.bridge.discovery import Places
from edgeagent.bridge.discoverymcus import ATTRIBUTE, Microcontroller, switches
from edgeagent.sample import Sample

__all__ = ["McuOutlet"]

Publish = Callable[[str, bytes, int, bool], bool]


class McuOutlet:
    """publish: as :meth:`MqttClient.publish`. look: those of the device, as they are now. may: whether an action may be asked for."""

    def __init__(
        self, publish: Publish, places: Places, look: Callable[[], list[Microcontroller]], may: Callable[[str], bool]
    ) -> None:
        self._publish, self._places, self._look, self._may = publish, places, look, may
        self._watched: dict[tuple[str, str], list[str]] = {}
        self._wanted: dict[str, bytes] = {}
        self._told: dict[str, bytes] = {}
        #: Those of the device, by id.
        self.mcus: dict[str, Microcontroller] = {}

    def refresh(self) -> bool:
        """Whether they are others now, or say something else of themselves."""
        found = {each.id: each for each in self._look()}
        if found == self.mcus:
            return False
        self.mcus = found
        self._watched = {}
        for mcu in found.values():
            for command, metric in switches(mcu, self._may).items():
                self._watched.setdefault((mcu.id, metric), []).append(self._places.switch(mcu.id, command))
        states = {self._places.mcu(each.id): b"online" if each.is_online else b"offline" for each in found.values()}
        kept = {where for topics in self._watched.values() for where in topics}
        self._wanted = {**{where: value for where, value in self._wanted.items() if where in kept}, **states}
        self._told = {where: value for where, value in self._told.items() if where in self._wanted}
        return True

    def offer(self, samples: list[Sample]) -> None:
        """These were measured."""
        for sample in samples:
            if ATTRIBUTE in sample.attributes:
                self.refresh()  # it may have said a moment ago what it switches
                for where in self._watched.get((sample.attributes[ATTRIBUTE], sample.metric), ()):
                    self._wanted[where] = b"1" if sample.value else b"0"

    def connected(self) -> None:
        """The broker may have forgotten what it was told."""
        self._told.clear()

    def turn(self) -> None:
        """Publish what is due, as far as there is room."""
        for where, value in self._wanted.items():
            if self._told.get(where) != value and self._publish(where, value, 1, True):
                self._told[where] = value
