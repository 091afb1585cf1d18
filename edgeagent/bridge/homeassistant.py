"""Keeps what Home Assistant is told of this device and its microcontrollers true: what comes is told, and what is gone is taken away.

Home Assistant forgets what its user made of an entity that is taken away, so one that is only not there yet after a start is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from edgeagent.bridge import discovery, discoverymcus
from edgeagent.bridge.discovery import Description, Entities, Output, Places
from edgeagent.bridge.discoverymcus import ATTRIBUTE, Microcontroller
from edgeagent.sample import Sample

__all__ = ["SETTLE_SECONDS", "HomeAssistant", "chosen"]

#: A series that was published before the agent started is taken away when it was not measured for so long, in seconds: three times the
#: pace of a metered device. That of a microcontroller: for so long since it was first there.
SETTLE_SECONDS = 900.0

Publish = Callable[[str, bytes, int, bool], bool]
Told = dict[str, Entities]


def chosen(globs: list[str]) -> Callable[[str], bool]:
    """Whether a metric is one of these; asked for each sample."""
    return lru_cache(1000)(lambda metric: any(fnmatchcase(metric, glob) for glob in globs))


class HomeAssistant:
    """publish: as :meth:`MqttClient.publish`. prefix: of its topics; empty: it is told nothing. told: what it was told before, by topic; it
    is changed in place. series: what is published. outputs: those that may be switched, by name. buttons: actions that can be asked for as
    they are. mcus: those of the device, by id. may: whether an action may be asked for. is_wanted: whether a metric is published."""

    def __init__(
        self,
        publish: Publish,
        places: Places,
        prefix: str,
        told: Told,
        *,
        series: Mapping[str, Sample],
        outputs: Callable[[], Mapping[str, int | None]],
        buttons: list[str],
        mcus: Callable[[], Mapping[str, Microcontroller]],
        may: Callable[[str], bool],
        is_wanted: Callable[[str], bool],
        clock: Callable[[], float],
    ) -> None:
        self._publish, self._places, self._prefix, self._told, self._clock = publish, places, prefix, told, clock
        self._series, self._outputs, self._buttons = series, outputs, buttons
        self._mcus, self._may, self._is_wanted = mcus, may, is_wanted
        self._mine = discovery.topic(prefix, places.device_id) if prefix else ""
        self._began = clock()
        self._came: dict[str, float] = {}
        self._said: dict[str, Description] = {}
        #: How many descriptions were published or taken away.
        self.count = 0

    def connected(self) -> None:
        """The broker may have forgotten what it was told."""
        self._said.clear()

    def describe(self) -> bool:
        """Whether all that is to be said of us is on its way."""
        wanted = self._wanted()
        gone = [where for where in self._told if where not in wanted]
        return all(self._forget(where) for where in gone) and all(self._tell(*each) for each in wanted.items())

    def is_stale(self) -> bool:
        """Whether something was told that is gone without anybody having said so."""
        return bool(self._prefix) and any(
            key not in description.entities for where, description in self._wanted().items() for key in self._told.get(where, {})
        )

    def _tell(self, where: str, wanted: Description) -> bool:
        if self._said.get(where) == wanted:
            return True
        before = self._told.get(where, {})
        if not self._publish(where, discovery.message(self._places, wanted, before), 1, True):
            return False
        self._empty(entity for key, entity in before.items() if key not in wanted.entities)
        self._told[where], self._said[where] = wanted.entities, wanted
        self.count += 1
        return True

    def _forget(self, where: str) -> bool:
        """It is no device of ours any more, or Home Assistant is no longer told of it here."""
        if not self._publish(where, discovery.REMOVED, 1, True):
            return False
        entities = self._told.pop(where).values()
        self._said.pop(where, None)
        self.count += 1
        states = {str(entity.get("state_topic", "")) for entity in entities}
        of_mcus = {each for each in states if each.startswith(f"{self._places.base}/mcu/")}
        if of_mcus and not of_mcus & {self._places.mcu(mcu_id) for mcu_id in self._mcus()}:
            self._empty(entities)
        return True

    def _empty(self, entities: Any) -> None:
        for where in {str(entity["state_topic"]) for entity in entities if "state_topic" in entity}:
            self._publish(where, b"", 1, True)

    # ---- what is to be told ----

    def _wanted(self) -> dict[str, Description]:
        if not self._mine:
            return {}
        mcus = self._mcus()
        self._note(mcus)
        mine: dict[str, Sample] = {}
        its: dict[str, dict[str, Sample]] = {mcu_id: {} for mcu_id in mcus}
        for where, sample in self._series.items():
            its.get(sample.attributes.get(ATTRIBUTE, ""), mine)[where] = sample
        found = {self._mine: self._device(mine)}
        for mcu_id, mcu in mcus.items():
            found[discovery.topic(self._prefix, self._places.device_id, mcu_id)] = self._mcu(mcu, its[mcu_id])
        return found

    def _note(self, mcus: Mapping[str, Microcontroller]) -> None:
        for mcu in mcus.values():
            if mcu.is_online:
                self._came.setdefault(mcu.id, self._clock())

    def _device(self, series: Mapping[str, Sample]) -> Description:
        outputs = [Output(pin=name) for name in self._outputs()]
        entities = discovery.components(self._places, series, outputs, self._buttons)
        kept = {} if self._is_settled(self._began) else self._remembered(self._mine, self._may_be_measured)
        return discovery.of_device(self._places, {**kept, **entities})

    def _mcu(self, mcu: Microcontroller, series: Mapping[str, Sample]) -> Description:
        where = discovery.topic(self._prefix, self._places.device_id, mcu.id)
        entities = discoverymcus.entities(self._places, mcu, series, self._may)
        kept: Entities = {}
        if not self._is_settled(self._came.get(mcu.id)):
            kept = self._remembered(where, self._may_be_measured)
            if mcu.hello is None:
                kept |= self._remembered(where, self._may_be_asked)
        return discoverymcus.described(self._places, mcu, {**kept, **entities})

    def _is_settled(self, since: float | None) -> bool:
        return since is not None and self._clock() - since > SETTLE_SECONDS

    def _remembered(self, where: str, may_come: Callable[[Mapping[str, Any]], bool]) -> Entities:
        """Of what was told before: those that will likely be there again."""
        return {key: entity for key, entity in self._told.get(where, {}).items() if may_come(entity)}

    def _may_be_measured(self, entity: Mapping[str, Any]) -> bool:
        head, _, rest = str(entity.get("state_topic", "")).partition(f"{self._places.base}/metric/")
        return entity.get("p") == "sensor" and not head and bool(rest) and self._is_wanted(rest.split("/")[0])

    def _may_be_asked(self, entity: Mapping[str, Any]) -> bool:
        head, _, action = str(entity.get("command_topic", "")).partition(f"{self._places.base}/action/")
        return bool(action) and not head and self._may(action)
