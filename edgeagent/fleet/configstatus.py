"""Who follows what: the documents that the hub has beside what devices say of themselves. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edgeagent.config import AGENT_TOML, Layer, defaults, nested
from edgeagent.errors import EdgeError
from edgeagent.fleet.configversion import Version, when
from edgeagent.fleet.states import Known, State, state_of
from edgeagent.profiles import merged
from edgeagent.schema import AgentSettings
from edgeagent.subjects import Scope, scopes_of
from edgeagent.times import rfc3339
from edgeagent.wire import ConfigState, ScopeState, check_depth

__all__ = ["Applied", "DeviceConfig", "Effective", "Followed", "Progress", "effective", "progress_of", "status_of"]

#: The newest document of each scope, and before that the older ones that the hub has kept, the oldest first.
Documents = Mapping[Scope, list[Version]]


@dataclass(frozen=True, kw_only=True)
class Followed:
    """A scope's document, and what a device did with it. desired: the generation at the hub, 0 for none.

    state: the device's own words. error: why it does not follow the hub's, empty if it does. since: since when it does not, by the
    hub's clock.
    """

    scope: Scope
    desired: int
    state: ScopeState
    error: str = ""
    since: datetime | None = None

    @property
    def applied(self) -> bool:
        return self.state.applied == self.desired

    @property
    def failed(self) -> bool:
        """The device has seen what the hub has, and does not follow it."""
        return bool(self.error) and self.state.desired == self.desired

    def as_dict(self) -> dict[str, Any]:
        return {
            "desired": self.desired,
            "applied": self.state.applied,
            "error": self.error or None,
            "ignored": self.state.ignored,
        }


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """One device's row. known_of: it has said what it does with its configuration."""

    id: str
    state: State
    known_of: bool
    scopes: list[Followed]
    restart: list[str]

    @property
    def desired(self) -> int:
        """The newest generation among its scopes."""
        return max((scope.desired for scope in self.scopes), default=0)

    @property
    def lagging(self) -> list[Followed]:
        return [scope for scope in self.scopes if not scope.applied]

    @property
    def applied(self) -> int | None:
        """``desired`` if all of its scopes are applied, else the oldest generation among those that are not; None: it never said."""
        if not self.known_of:
            return None
        return min((scope.state.applied for scope in self.lagging), default=self.desired)

    @property
    def error(self) -> str:
        return "; ".join(scope.error for scope in self.scopes if scope.error)

    @property
    def since(self) -> datetime | None:
        """When the oldest document was stored that it does not follow, by the hub's clock; None: it follows all, or never said."""
        return min((scope.since for scope in self.lagging if scope.since), default=None) if self.known_of else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "id": self.id,
            "state": str(self.state),
            "desired": self.desired,
            "applied": self.applied,
            "error": self.error or None,
            "since": rfc3339(self.since) if self.since else None,
            "scopes": {str(scope.scope): scope.as_dict() for scope in self.scopes},
            "restart": self.restart,
        }


def status_of(
    known: Known, documents: Documents, now: datetime, *, only: Scope | None = None, awaited: int | None = None
) -> DeviceConfig:
    """The row of a device. now: the hub's clock. only: look at this scope alone.

    awaited: the generation of ``only`` that counts, or any newer one, whatever ``documents`` has: a server may lag behind.
    """
    said = known.config or ConfigState()
    scopes = [scope for scope in scopes_of(known.id, known.groups) if only in (None, scope)]
    states = {scope: said.scopes.get(str(scope), ScopeState()) for scope in scopes}
    if awaited is None:
        followed = [_followed(scope, documents.get(scope, []), state) for scope, state in states.items()]
    else:
        followed = [_awaited(scope, awaited, state) for scope, state in states.items()]
    return DeviceConfig(
        id=known.id,
        state=state_of(known, now),
        known_of=known.config is not None,
        scopes=[scope for scope in followed if scope.desired or str(scope.scope) in said.scopes or scope.error],
        restart=said.restart,
    )


def _followed(scope: Scope, history: list[Version], state: ScopeState) -> Followed:
    newest = history[-1] if history else Version(scope=scope)
    since = None
    if state.applied != newest.generation:
        later = [version for version in history if version.generation > state.applied] or [newest]
        since = later[0].time
    return Followed(scope=scope, desired=newest.generation, state=state, error=_error(newest, state), since=since)


def _awaited(scope: Scope, generation: int, state: ScopeState) -> Followed:
    if state.applied >= generation:
        error = state.error if state.desired == state.applied else ""  # of one that came later: no matter here
        return Followed(scope=scope, desired=state.applied, state=state, error=error)
    return Followed(scope=scope, desired=max(generation, state.desired), state=state, error=state.error)


def _error(newest: Version, state: ScopeState) -> str:
    if newest.generation < state.applied:
        return _step_back(newest, state)
    if state.error:
        return state.error
    if newest.problem and newest.key:
        return f"what the hub has for {newest.scope}: {newest.problem}"
    return f"what the hub has for {newest.scope} is no configuration: {newest.problem}" if newest.problem else ""


def _step_back(newest: Version, state: ScopeState) -> str:
    scope, follows = newest.scope, f"that this device says that it follows ({when(state.applied)})"
    if not newest.is_there:
        one = f"this device says that it follows one ({when(state.applied)})"
        return f"the hub has no configuration of {scope} any more, but {one}: it was wiped or replaced; set it again"
    has = f"the hub has an older configuration of {scope} ({when(newest.generation)}) than the one {follows}"
    return f"{has}: it was restored or replaced; set it again"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where devices are on their way to what the hub has.

    failed: online, and they say why not. waiting: the others that do not follow it yet; also those that were there when it began, and
    are away since. away: not online, so not waited for.
    """

    done: list[DeviceConfig]
    waiting: list[DeviceConfig]
    failed: list[DeviceConfig]
    away: list[DeviceConfig]


def progress_of(rows: Iterable[DeviceConfig], present: Collection[str] = ()) -> Progress:
    """The rows, sorted out. present: the ids of those that were online when it began."""
    found = Progress(done=[], waiting=[], failed=[], away=[])
    for row in rows:
        if row.state is not State.ONLINE:
            # It may have been this very change that took the device away.
            lost = row.id in present and row.lagging and row.state is not State.REVOKED
            (found.waiting if lost else found.away).append(row)
        elif any(scope.failed for scope in row.scopes):
            found.failed.append(row)
        else:
            (found.waiting if row.lagging else found.done).append(row)
    return found


class Applied:
    """What a device says that counts on it, by dotted name. known: it said so, and it was not too large to say."""

    def __init__(self, said: ConfigState | None) -> None:
        self.known = said is not None and not said.left_out and _is_shallow(said)
        self.values = said.values if said and self.known else {}
        self.settings = said.settings if said and self.known else {}
        self.restart = said.restart if said else []

    def of(self, name: str, default: Any) -> Any:
        return self.values.get(name, self.settings.get(name, default)) if self.known else None


def _is_shallow(said: ConfigState) -> bool:
    """A device must not make whoever shows its values run out of stack."""
    try:
        check_depth(said.values, "values")
        check_depth(said.settings, "settings")
    except ValueError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class Effective:
    """One key of a device. value, layer: what the documents at the hub make of it; None: nothing any more, but the device has it.

    applied: what the device says that counts; None: it has not said. restart: from the agent's next start on.
    """

    name: str
    value: Any
    layer: str | None
    applied: Any
    restart: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {"value": self.value, "layer": self.layer, "applied": self.applied, "restart": self.restart}


def effective(known: Known, newest: Mapping[Scope, Version]) -> list[Effective]:
    """Every key of a device, by name. newest: each scope's document at the hub."""
    said = Applied(known.config)
    layers = [defaults(), *_own(said), *_documents(known, newest)]
    profile = Layer(AGENT_TOML, {"agent": {"profile": said.of("agent.profile", AgentSettings().profile)}})
    desired, base = merged(layers), merged([defaults(), profile])
    found = []
    for name in sorted(desired.keys() | said.values.keys()):
        value = desired.get(name)
        default = base[name].value if name in base else None
        found.append(
            Effective(
                name=name,
                value=value.value if value else None,
                layer=value.layer if value else None,
                applied=said.of(name, default),
                restart=name in said.restart,
            )
        )
    return found


def _own(said: Applied) -> Iterable[Layer]:
    try:
        yield Layer(AGENT_TOML, nested(said.settings))
    except EdgeError:  # no agent says such a thing: its values stay unknown
        return


def _documents(known: Known, newest: Mapping[Scope, Version]) -> Iterable[Layer]:
    for scope in scopes_of(known.id, known.groups):
        if scope in newest and newest[scope].is_there:
            yield Layer(str(scope), newest[scope].values)
