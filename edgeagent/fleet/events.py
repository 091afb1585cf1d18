"""Events: what a person should see of devices and of the hub itself, as the hub keeps them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from edgeagent import subjects, wire
from edgeagent.cel import Evaluator
from edgeagent.direct import Stored
from edgeagent.errors import Failed, UsageProblem
from edgeagent.fleet.chosen import ALLOWED, Whose, chosen
from edgeagent.fleet.following import follow_since
from edgeagent.fleet.leftout import AHEAD, LeftOut
from edgeagent.fleet.storedchunks import Moment, begin_at, stored
from edgeagent.hub.streams import SEVERITIES
from edgeagent.times import parse_rfc3339, rfc3339

if TYPE_CHECKING:
    from edgeagent.fleet.client import Fleet

__all__ = ["EventLog", "Happened", "Once", "happened", "severities_from"]

STREAM = "EDGE_EVENTS"
#: So many ids are remembered, so that what was sent again is told once: it comes soon after the first.
REMEMBERED = 10_000


@dataclass(frozen=True, kw_only=True)
class Happened:
    """One event. device: ``hub`` for the hub's own. time: when it happened, by the sender's clock where that can be; stored: when the hub
    got it. kind, text, data, id: as of :class:`edgeagent.wire.Event`."""

    device: str
    severity: str
    time: datetime
    stored: datetime
    kind: str
    text: str
    data: dict[str, Any]
    id: str
    sequence: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        times = {"time": rfc3339(self.time), "stored": rfc3339(self.stored)}
        said = {"severity": self.severity, "kind": self.kind, "text": self.text, "data": self.data}
        return {**times, "device": self.device, **said, "id": self.id or None}


def severities_from(least: str) -> tuple[str, ...]:
    """``least`` and all that are worse. Raises UsageProblem."""
    if least not in SEVERITIES:
        raise UsageProblem(f"read events of severity {least!r}", "there is none", f"there are {', '.join(SEVERITIES)}")
    return SEVERITIES[SEVERITIES.index(least) :]


def happened(stored: Stored, left: LeftOut) -> Happened | None:
    """The event in a message; None for what is none, which ``left`` is told. Pure."""
    device, severity = subjects.device_of(stored.subject), stored.subject.rpartition(".")[2]
    try:
        event = wire.decode(stored.data, wire.Event)
    except Failed as error:
        left.spoil(device, error.why)
        return None
    return Happened(
        device=device,
        severity=severity,
        time=_time(event.time, stored.time),
        stored=stored.time,
        kind=event.kind,
        text=event.text,
        data=event.data,
        id=event.id,
        sequence=stored.sequence,
    )


def _time(said: str, stored: datetime) -> datetime:
    """When it happened: what its sender says, unless that is no time, or one to come."""
    try:
        time = parse_rfc3339(said)
        return time if time <= stored + AHEAD else stored
    except (ValueError, OverflowError):
        return stored


class Once:
    """Whether an event was not there before. Ids are each sender's own: nobody can suppress another's."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    def is_new(self, event: Happened) -> bool:
        if not event.id:
            return True
        key = (event.device, event.id)
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return True


class EventLog:
    """The events of a fleet, read by any person. The hub's own have the device ``hub``; a group or a filter leaves them out."""

    def __init__(self, fleet: Fleet, evaluator: Evaluator) -> None:
        self._fleet, self._evaluator = fleet, evaluator

    async def history(
        self, whose: Whose = ALLOWED, *, since: Moment, least: str = "debug", left: LeftOut | None = None
    ) -> AsyncGenerator[Happened, None]:
        """What the hub got since then, in its order, each once. least: the least severity."""
        wanted, left = severities_from(least), left or LeftOut()
        devices = await self._devices(whose, left)
        begin = await begin_at(self._fleet.client, since)
        messages = stored(self._fleet.client, STREAM, _subject(wanted), devices, since=begin)
        async with aclosing(_told(messages, wanted, left)) as events:
            async for event in events:
                yield event

    async def follow(
        self,
        whose: Whose = ALLOWED,
        *,
        since: Moment | None = None,
        least: str = "debug",
        left: LeftOut | None = None,
        ready: Callable[[], None] = lambda: None,
        on_link: Callable[[bool], None] = lambda there: None,
    ) -> AsyncGenerator[Happened, None]:
        """The same, then what comes from now on, for ever. since: None: only that. ready, on_link: as of :func:`follow_since`."""
        wanted, left = severities_from(least), left or LeftOut()
        devices = await self._devices(whose, left)
        begin = None if since is None else await begin_at(self._fleet.client, since)

        live = f"event.{_token(wanted)}"
        messages = follow_since(
            self._fleet.client, STREAM, live, _subject(wanted), devices, begin=begin, ready=ready, on_link=on_link
        )
        async with aclosing(_told(messages, wanted, left)) as events:
            async for event in events:
                yield event

    async def _devices(self, whose: Whose, left: LeftOut) -> tuple[str, ...] | None:
        return await chosen(self._fleet, self._evaluator, whose, STREAM, _subject(()), left)


def _subject(wanted: Sequence[str]) -> Callable[[str], str]:
    """The filter of a device's events: of one severity, or of all."""
    return lambda device: subjects.event(device, _token(wanted))


def _token(wanted: Sequence[str]) -> str:
    return wanted[0] if len(wanted) == 1 else "*"


async def _told(messages: AsyncGenerator[Stored, None], wanted: Sequence[str], left: LeftOut) -> AsyncGenerator[Happened, None]:
    once = Once()
    async with aclosing(messages):
        async for message in messages:
            event = happened(message, left)
            if event and event.severity in wanted and once.is_new(event):
                yield event
