"""What the hub knows of each device, followed live and kept in memory: for ``/metrics``, which then costs the hub no reads."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from itertools import islice
from typing import Any

from prometheus_client import Metric

from edgeagent import subjects, wire
from edgeagent.alertrules import SEVERITIES
from edgeagent.alertsettings import MAX_ALERTS, NAME
from edgeagent.command import FINAL, Result
from edgeagent.direct import Stored, get_last, in_our_words, read_all, republished
from edgeagent.errors import EdgeError
from edgeagent.fleet.roster import CLOCK_STEP, Roster, read_roster
from edgeagent.fleet.states import Known, State, state_of
from edgeagent.hub.bucket import PREFIX
from edgeagent.hub.exporterfamilies import counter, gauge
from edgeagent.hub.streams import CONFIG_BUCKET, DEVICES_BUCKET
from edgeagent.link import Client
from edgeagent.runtime import jittered
from edgeagent.subjects import scopes_of
from edgeagent.trust.signed import peek

__all__ = ["DeviceStates", "alerts_of", "device_families", "repairs_of"]

log = logging.getLogger("edgeagent.hub")

#: How often everything is read again, in seconds: that heals what was not heard.
READ_SECONDS = 300.0
#: Outcomes that are remembered, so that one that is told twice counts once.
OUTCOMES = 20_000
#: The most repairs of a link that are believed.
MAX_REPAIRS = 1 << 53
_DAY = 86_400.0
_CONFIG = subjects.kv(CONFIG_BUCKET, "")
_ALERT_NAME = re.compile(NAME)
_Row = tuple[dict[str, str], float]


class DeviceStates:
    """hub: a connection to the account HUB. roster, generations, outcomes: what :func:`device_families` shows."""

    def __init__(self, hub: Client) -> None:
        self._hub = hub
        self.roster = Roster(datetime.now(timezone.utc), {})
        self.generations: dict[str, int] = {}
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self._told: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._meanwhile: list[Stored] | None = None

    async def start(self) -> None:
        """Listen, then read. Raises EdgeError."""
        with in_our_words("follow the devices"):
            for what in ("report", "heartbeat", "presence"):
                await self._hub.subscribe(subjects.live("*", what), cb=self._heard)
            await self._hub.subscribe(subjects.live("*", "result.*"), cb=self._ended)
            await self._hub.subscribe("edge.to.*.*.config", cb=self._rang)
            await self._hub.subscribe(subjects.record_doorbell("*"), cb=self._changed)
        await self.read()

    async def run(self) -> None:
        """Read everything again now and then, for ever."""
        while True:
            await asyncio.sleep(jittered(READ_SECONDS))
            try:
                await self.read()
            except EdgeError as error:
                log.debug("%s", error)

    async def read(self) -> None:
        """Raises EdgeError."""
        found: dict[str, int] = {}
        async for stored in read_all(self._hub, f"KV_{CONFIG_BUCKET}", f"{_CONFIG}>", prefix=PREFIX, marks=True):
            _note(found, stored.subject, stored.data, deleted=stored.deleted)
        heard: list[Stored] = []
        self._meanwhile = heard
        try:
            roster = await read_roster(self._hub, prefix=PREFIX)
        finally:
            self._meanwhile = None
        for stored in heard:  # newer than the page that was read, perhaps
            roster.take(stored, datetime.now(timezone.utc) + CLOCK_STEP)
        self.generations, self.roster = found, roster
        for device, state in [pair for pair in self.outcomes if pair[0] not in roster.devices]:
            del self.outcomes[device, state]

    async def _heard(self, message: Any) -> None:
        stored = republished(message)
        if stored is None:
            return
        self.roster.take(stored, datetime.now(timezone.utc) + CLOCK_STEP)
        if self._meanwhile is not None:
            self._meanwhile.append(stored)

    async def _changed(self, message: Any) -> None:
        """The doorbell of a device's record, which carries nothing."""
        await self._again(DEVICES_BUCKET, subjects.kv(DEVICES_BUCKET, message.subject.split(".")[3]))

    async def _rang(self, message: Any) -> None:
        """The doorbell of a document."""
        _, _, kind, name, _ = message.subject.split(".")
        await self._again(CONFIG_BUCKET, f"{_CONFIG}{kind}.{name}")

    async def _again(self, bucket: str, subject: str) -> None:
        try:
            stored = await get_last(self._hub, f"KV_{bucket}", subject, prefix=PREFIX, marks=True)
        except EdgeError as error:
            log.debug("%s", error)
            return
        if stored is None:
            return
        if bucket == CONFIG_BUCKET:
            _note(self.generations, subject, stored.data, deleted=stored.deleted)
        elif not stored.deleted:
            self.roster.take(stored, datetime.now(timezone.utc) + CLOCK_STEP)
        else:
            self.roster.devices.pop(subject.removeprefix(subjects.kv(bucket, "")), None)

    async def _ended(self, message: Any) -> None:
        device = subjects.device_of(message.subject)
        try:
            result = wire.decode(message.data, Result)
        except EdgeError:
            return
        if result.state in FINAL and device in self.roster.devices and (device, result.id) not in self._told:
            self.outcomes[device, result.state] += 1
            self._told[device, result.id] = None
            if len(self._told) > OUTCOMES:
                self._told.popitem(last=False)


def _note(generations: dict[str, int], subject: str, data: bytes, *, deleted: bool) -> None:
    scope = subject.removeprefix(_CONFIG)
    if deleted:
        generations.pop(scope, None)
        return
    try:
        generations[scope] = peek(data).number
    except EdgeError:
        generations.pop(scope, None)  # no device follows it either


def device_families(states: DeviceStates, now: datetime) -> Iterator[Metric]:
    """What the hub knows of every device. now: the hub's clock."""
    devices = list(states.roster.devices.values())
    up = _rows(devices, lambda known: (_label(known), float(state_of(known, now) is State.ONLINE)))
    yield gauge("edgeagent_device_up", "Whether the device is online, as `edgeagent fleet ls` says it.", up)
    about = _rows(
        devices, lambda known: ({**_label(known), "state": str(state_of(known, now)), "groups": ",".join(known.groups)}, 1.0)
    )
    yield gauge("edgeagent_device_info", "1; its state and its groups are labels.", about)
    seen = _rows(devices, lambda known: (_label(known), (now - known.last_seen).total_seconds()) if known.last_seen else None)
    yield gauge("edgeagent_device_last_seen_seconds", "How long ago it was certainly there.", seen)
    days = _rows(devices, lambda known: _days_left(known, now))
    yield gauge("edgeagent_device_credentials_days_left", "Days until its JWT ends; it renews itself before.", days)
    yield from _config_families(states, devices, now)
    there = [known for known in devices if state_of(known, now) is not State.REVOKED]
    raised = [({"device": known.id, "alert": name, "severity": of}, 1.0) for known in there for name, of in alerts_of(known)]
    yield gauge("edgeagent_device_alert_active", "1 for each alert that is raised, as of the device's newest report.", raised)
    mended = [({"device": known.id, "how": how}, count) for known in there for how, count in repairs_of(known)]
    text = "Links that looked up and carried nothing, by what mended them, since the device's agent started."
    yield counter("edgeagent_device_link_repairs_total", text, mended)
    ended = [({"device": device, "state": state}, count) for (device, state), count in list(states.outcomes.items())]
    text = "Commands that ended, by state, as far as this instance of the hub's services heard of it."
    yield counter("edgeagent_device_commands_total", text, ended)


def _rows(devices: list[Known], row: Callable[[Known], _Row | None]) -> list[_Row]:
    """The row of each device that has one. What nobody thought of in one of them leaves out that one."""
    found = []
    for known in devices:
        try:
            found.append(row(known))
        except Exception as error:  # see above
            log.debug("%s is left out of /metrics: %r", known.id, error)
    return [each for each in found if each is not None]


def _label(known: Known) -> dict[str, str]:
    return {"device": known.id}


def alerts_of(known: Known) -> list[tuple[str, str]]:
    """Name and severity of the alerts that the device says are raised, whatever it says."""
    said = (known.facts or {}).get("alerts")
    if not isinstance(said, dict):
        return []
    good = (pair for pair in said.items() if _ALERT_NAME.match(pair[0]) and pair[1] in SEVERITIES)
    return list(islice(good, MAX_ALERTS))


def repairs_of(known: Known) -> list[tuple[str, float]]:
    """How often the device says that it mended its link, and how, as far as it is a number that can be."""
    said = known.report.repairs if known.report else None
    counts = {how: getattr(said, how) for how in ("dialled", "reloaded", "restarted")} if said else {}
    return [(how, float(count)) for how, count in counts.items() if 0 <= count <= MAX_REPAIRS]


def _days_left(known: Known, now: datetime) -> _Row | None:
    if not known.record or not known.record.expires_at:
        return None
    return _label(known), (known.record.expires_at - now.timestamp()) / _DAY


def _config_families(states: DeviceStates, devices: list[Known], now: datetime) -> Iterator[Metric]:
    following = [known for known in devices if known.config is not None]
    pending = _rows(following, lambda known: (_label(known), float(len(_behind(states, known)))))
    yield gauge("edgeagent_device_config_pending", "Scopes whose configuration at the hub it does not follow (yet).", pending)
    lag = _rows(following, lambda known: (_label(known), _lag(_behind(states, known), now)))
    yield gauge(
        "edgeagent_device_config_lag_seconds", "Since when it does not follow the oldest of them; 0: it follows all.", lag
    )
    wrong = _rows(following, lambda known: (_label(known), float(_errors(known))))
    yield gauge("edgeagent_device_config_errors", "Scopes whose configuration it refuses to follow.", wrong)


def _errors(known: Known) -> int:
    return sum(bool(state.error) for state in known.config.scopes.values()) if known.config is not None else 0


def _behind(states: DeviceStates, known: Known) -> list[int]:
    """The generations at the hub that it does not follow."""
    said = known.config.scopes if known.config is not None else {}
    wanted = {str(scope): states.generations.get(str(scope), 0) for scope in scopes_of(known.id, known.groups)}
    return [generation for scope, generation in wanted.items() if generation != (said[scope].applied if scope in said else 0)]


def _lag(behind: list[int], now: datetime) -> float:
    """Seconds. A generation is when its document was signed, in Unix milliseconds, unless that clock was wrong."""
    oldest = min(behind, default=0)
    return max(0.0, now.timestamp() - oldest / 1000) if oldest else 0.0
