"""The device's side of configuration: which document of each scope it follows, what follows from all of them, and what it says of it.

A document counts when somebody whom this device trusts signed it for this scope, it is newer than the one before, and its values are
possible. Whatever else the hub shows leaves the running configuration untouched and is told. What counts is on the disk before it
takes effect, so the next start begins with it, link or none.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgeagent import config, lastgood, subjects, wire
from edgeagent.config import AGENT_TOML, DEFAULT, KEYS, Value
from edgeagent.direct import Stored
from edgeagent.documents import Source
from edgeagent.errors import EdgeError, Refused
from edgeagent.lastgood import Kept
from edgeagent.profiles import METERED
from edgeagent.settings import Settings
from edgeagent.subjects import Scope, scopes_of
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import check, peek

__all__ = ["Configuration", "Judgement", "judge", "sources"]

#: What a report has room for: text of an error, names that are not known, and values in bytes of JSON.
MAX_ERROR, MAX_IGNORED, MAX_NAME, MAX_VALUES_BYTES = 500, 20, 100, 16 << 10

#: What may stand as a number in JSON for everybody who reads it.
MAX_NUMBER = (1 << 63) - 1

Tell = Callable[..., None]


class Judgement(NamedTuple):
    """state: what to say of the scope. kept: the document to follow from now on; None: the one before, if there is one.

    went_back: the hub shows less than it once did.
    """

    state: wire.ScopeState
    kept: Kept | None = None
    went_back: bool = False


def judge(scope: Scope, data: bytes | None, before: Kept | None, pins: Pins, settings: Settings | None = None) -> Judgement:
    """What to do about the newest document that the hub has. Pure.

    data: the stored envelope, None where there is none. before: the document that the device follows. settings: of agent.toml, which
    may have no use for some keys.
    """
    applied = before.generation if before else 0
    if data is None:
        return Judgement(wire.ScopeState(applied=applied, error=_gone(scope) if before else ""), went_back=before is not None)
    digest = hashlib.sha256(data).hexdigest()
    if before and digest == before.digest:
        return Judgement(_good(before, settings))
    claimed = 0
    try:
        claimed = max(0, min(peek(data).number, MAX_NUMBER))
        kept = _accepted(scope, data, digest, before, pins)
    except EdgeError as error:
        return Judgement(wire.ScopeState(desired=claimed, applied=applied, error=_short(str(error))))
    if kept is None:
        return Judgement(wire.ScopeState(desired=claimed, applied=applied, error=_back(scope)), went_back=True)
    return Judgement(_good(kept, settings), kept)


def _accepted(scope: Scope, data: bytes, digest: str, before: Kept | None, pins: Pins) -> Kept | None:
    """The document, if it is to be followed; None when it is good, but from before the one that is. Raises EdgeError otherwise."""
    found = check(data, kind="config", scope=scope, pins=pins)
    what = f"follow the configuration for {scope}"
    if not 0 < found.number <= MAX_NUMBER:
        raise Refused(what, "its generation is no number that everybody can read")
    # Who was revoked may have signed for the far future, so that nothing could ever replace it. It goes on, but is no floor any more.
    if before and not pins.has_revoked(before.key, before.issued):
        if found.number == before.generation:
            raise Refused(what, "it is another document of the same generation as the one that this device follows")
        if found.number < before.generation:
            return None
    document = config.document_of(found.body)
    if problems := config.invalid(document.values):
        raise Refused(what, "; ".join(problems))
    return Kept(
        generation=found.number,
        at=found.at,
        signer=found.signer,
        key=found.key,
        issued=found.issued,
        digest=digest,
        values=document.values,
        note=document.note,
    )


def _good(kept: Kept, settings: Settings | None) -> wire.ScopeState:
    ignored = [name[:MAX_NAME] for name in config.ignored(kept.values, settings)[:MAX_IGNORED]]
    return wire.ScopeState(desired=kept.generation, applied=kept.generation, ignored=ignored)


def _gone(scope: Scope) -> str:
    return f"the hub has no configuration for {scope} any more: it was wiped or replaced. This device keeps its own; set it again"


def _back(scope: Scope) -> str:
    return (
        f"the hub's configuration for {scope} is older than the one that this device follows: the hub was restored from a backup, or "
        "replaced. This device keeps the newer one; set it again"
    )


def _short(text: str) -> str:
    return text if len(text) <= MAX_ERROR else f"{text[: MAX_ERROR - 1]}…"


def sources(device_id: str, groups: Iterable[str]) -> list[Source]:
    """What to follow; the key of each is its scope."""
    return [
        Source(str(scope), f"KV_{subjects.CONFIG_BUCKET}", subjects.document(scope), subjects.config_doorbell(scope))
        for scope in scopes_of(device_id, groups)
    ]


class Configuration:
    """The configuration of one device, kept in ``folder``.

    settings: of agent.toml. pins: gives whom the device trusts now. on_change: called with every value and its layer whenever one is
    another. on_state: called whenever there is something else to report. tell: an event, as
    :meth:`edgeagent.patterns.events.Events.tell`.
    """

    def __init__(
        self,
        folder: Path,
        device_id: str,
        settings: Settings,
        groups: Iterable[str],
        *,
        pins: Callable[[], Pins],
        tell: Tell,
        on_change: Callable[[Mapping[str, Value]], None] = lambda values: None,
        on_state: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._id, self._settings, self._groups = folder, device_id, settings, tuple(groups)
        self._pins, self._tell, self.on_change, self.on_state = pins, tell, on_change, on_state
        #: Says what is wrong with following a key, by its name, as half a sentence.
        self.complaints: Callable[[], dict[str, str]] = dict
        self._documents = _kept(folder, tell)
        self._unsaved: set[str] = set()  # the scopes whose documents are followed, but not on the disk
        self._not_kept = ""  # why not
        self._states = {scope: _good(kept, settings) for scope, kept in self._documents.items()}
        self.values = self._merged(self._documents)
        self._began = {name: self.values[name] for name, key in KEYS.items() if not key.live and name in self.values}

    def set_groups(self, groups: Iterable[str]) -> None:
        """The device is in other groups, or they are in another order. What was refused may be followed now: offer it again."""
        self._groups = tuple(groups)
        self._look()
        self.on_state()

    async def changed(self, key: str, stored: Stored | None) -> bool:
        """For the :class:`~edgeagent.documents.Follower`. Whether it is followed from now on; then what was refused may be, too.

        Raises EdgeError when what counts now can't be kept: offer it again.
        """
        if stored is None and key not in self._documents:
            self._states.pop(key, None)
            self.on_state()
            return False
        found = self._judge(Scope(*key.split(".", 1)), stored)
        if found.kept:
            self._documents[key] = found.kept
            self._unsaved.add(key)
        try:
            await self._take_effect()
        finally:  # not before: a report may go out at any moment, and what it says is applied has taken effect
            self._say(key, found)
            self.on_state()
        return found.kept is not None

    def _judge(self, scope: Scope, stored: Stored | None) -> Judgement:
        before = self._documents.get(str(scope))
        applied = before.generation if before else 0
        try:
            pins = self._pins()
        except EdgeError as error:
            return Judgement(wire.ScopeState(applied=applied, error=_short(str(error))))
        found = judge(scope, stored.data if stored else None, before, pins, self._settings)
        if found.kept and (problems := config.impossible(self._merged({**self._documents, str(scope): found.kept}))):
            text = f"cannot follow the configuration for {scope}: together with the others {'; '.join(problems)}"
            return Judgement(msgspec.structs.replace(found.state, applied=applied, error=_short(text)))
        return found

    def _say(self, key: str, found: Judgement) -> None:
        """Note what is so now; an event where it was not so before."""
        before, after = self._states.get(key), found.state
        self._states[key] = after
        if found.kept:
            text = f"follows the configuration for {key} that {found.kept.signer} signed"
            self._tell("info", "config.applied", text, scope=key, generation=found.kept.generation)
        elif after.error and (before is None or (before.error, before.desired) != (after.error, after.desired)):
            kind = "config.hub_went_back" if found.went_back else "config.refused"
            self._tell("error", kind, after.error, scope=key, desired=after.desired, applied=after.applied)

    async def _take_effect(self) -> None:
        if not self._unsaved:
            return
        try:
            await asyncio.to_thread(lastgood.save, self._folder, dict(self._documents))
            self._unsaved.clear()
            self._not_kept = ""
        except EdgeError as error:
            self._not_kept = _short(f"it is followed, but not kept: {error}")
            raise
        finally:
            self._look()

    def state(self) -> wire.ConfigState:
        """What to report."""
        wanted = {str(scope) for scope in scopes_of(self._id, self._groups)}
        scopes = {scope: self._shown(scope, state) for scope, state in self._states.items() if scope in wanted}
        if together := config.impossible(self.values):
            text = _short(f"not all of it counts, for together with the others {'; '.join(together)}")
            scopes = {
                scope: state if state.error else msgspec.structs.replace(state, error=text) for scope, state in scopes.items()
            }
        self._complain(scopes)
        values = {name: found.value for name, found in self.values.items() if found.layer not in (DEFAULT, METERED, AGENT_TOML)}
        settings = config.flat(config.of_settings(self._settings).values)
        large = len(msgspec.json.encode([values, settings])) > MAX_VALUES_BYTES
        now = {name: found for name, found in self.values.items() if name in self._began}
        return wire.ConfigState(
            scopes=scopes,
            values={} if large else values,
            settings={} if large else settings,
            left_out=large,
            restart=[name for name, found in now.items() if found.value != self._began[name].value],
        )

    def _complain(self, scopes: dict[str, wire.ScopeState]) -> None:
        """Have each scope say what is wrong with a key that it sets."""
        for name, text in self.complaints().items():
            scope = self.values[name].layer
            if scope in scopes and not scopes[scope].error:
                scopes[scope] = msgspec.structs.replace(scopes[scope], error=_short(f"{name}: {text}"))

    def _shown(self, scope: str, state: wire.ScopeState) -> wire.ScopeState:
        if state.error or scope not in self._unsaved:
            return state
        return msgspec.structs.replace(state, error=self._not_kept)

    def refused(self) -> list[str]:
        """The scopes whose newest document is not followed."""
        return [scope for scope, state in self._states.items() if state.error]

    def _merged(self, documents: lastgood.Documents) -> dict[str, Value]:
        return lastgood.effective(self._settings, self._id, self._groups, documents)

    def _look(self) -> None:
        """Have what changed take effect."""
        self.values = self._merged(self._documents)
        self.on_change(self.values)


def _kept(folder: Path, tell: Tell) -> dict[str, Kept]:
    """What was kept last. Neither a damaged file nor what another version kept may stop the agent: it reads the hub's again."""
    try:
        found = lastgood.load(folder)
    except EdgeError as error:
        tell("error", "config.lost", str(error))
        return {}
    for key, kept in list(found.items()):
        if problems := config.invalid(kept.values):
            text = f"cannot use all of the kept configuration for {key}: {'; '.join(problems)}"
            tell("error", "config.lost", _short(text), scope=key)
            # The rest counts, and nothing older is followed.
            found[key] = msgspec.structs.replace(kept, values=config.without_invalid(kept.values))
    return found
