"""What the next document of a scope builds upon, where what the hub shows and what devices follow are not the same. Pure.

The hub may have been restored, wiped or broken into: it shows an older document, none, or a stranger's. A device may lie about what it
follows. So where one of them says what an honest one would not, it is believed only if the other says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeagent.config import flat
from edgeagent.errors import Refused
from edgeagent.fleet.configlost import NAMED, in_force, names, still_lost
from edgeagent.fleet.configversion import REMEDY, Version, ready, when
from edgeagent.fleet.states import Known
from edgeagent.subjects import Scope

__all__ = ["Followed", "Ground", "ground_of", "is_lost"]


@dataclass(frozen=True, kw_only=True)
class Followed:
    """What devices say that they follow of a scope.

    said: the generation by id, without those that follow none. latest: the highest one that is believed without more, see
    :func:`~edgeagent.fleet.configsign.believed_until`. kept: the generations of the signed versions that the hub has.
    """

    said: Mapping[str, int]
    latest: int
    kept: frozenset[int] = frozenset()

    @classmethod
    def of(cls, scope: Scope, members: Iterable[Known], past: Iterable[Version], *, latest: int) -> Followed:
        states = {known.id: known.config.scopes.get(str(scope)) for known in members if known.config}
        return cls(
            said={device: state.applied for device, state in states.items() if state and state.applied > 0},
            latest=latest,
            kept=frozenset(
                version.generation for version in past if version.is_there and not version.problem and not version.revoked
            ),
        )

    def counts(self, generation: int) -> bool:
        """Whether a device that says so is believed."""
        return generation <= self.latest or generation in self.kept

    @property
    def newest(self) -> int:
        """The newest generation that counts; 0 for none."""
        return max((generation for generation in self.said.values() if self.counts(generation)), default=0)

    def believes(self, version: Version) -> bool:
        """Whether it is a signed document that is not from the future, or one that a device says that it follows."""
        signed = version.is_there and not version.problem
        return signed and (
            version.generation <= self.latest or (version.generation in self.said.values() and not version.revoked)
        )

    def agrees(self, base: Version) -> bool:
        """Whether ``base`` is what counts for everybody and is not from the future, so that nothing from before it matters."""
        shown = self.believes(base) and base.generation <= self.latest if base.revision else True
        return shown and all(generation <= base.generation for generation in self.said.values())

    def who(self, generation: int) -> str:
        """``pi-01 says``, or ``pi-01 and pi-02 say``: whoever says that it follows this one."""
        devices = [device for device, said in self.said.items() if said == generation]
        return f"{names(devices)} {'says' if len(devices) == 1 else 'say'}"


@dataclass(frozen=True, kw_only=True)
class Ground:
    """base: the newest document of the hub, which the next one replaces. source: whose values an edit begins with.

    floor, floor_of: the generation that the next one must exceed, and whose it is. before: what is in force of the scope, as far as
    anybody knows, by dotted name. again: it has to be written even if nothing changes. refusal: why an edit does not begin with it
    unless it is forced; empty: it does. warnings: what whoever writes must know.
    """

    base: Version
    source: Version
    floor: int
    floor_of: str
    before: Mapping[str, Any]
    again: bool = False
    refusal: str = ""
    warnings: tuple[str, ...] = ()

    def values(self, *, force: bool) -> Mapping[str, Any]:
        """What an edit begins with; nothing if it is forced in place of what nobody should build upon. Raises Refused otherwise."""
        if force and (self.base.problem or self.refusal):
            return {}
        ready(self.base)
        if self.refusal:
            raise Refused(f"build on the configuration of {self.base.scope}", self.refusal, REMEDY)
        return self.source.values


def ground_of(
    base: Version, past: Sequence[Version], followed: Followed, members: Sequence[Known], newest: Mapping[Scope, Version]
) -> Ground:
    """What to build upon.

    past: the versions before ``base`` that the hub has kept. members: the devices of the scope. newest: each scope's document at the
    hub, needed only where :func:`is_lost`.
    """
    source = _source(base, past, followed)
    lost = is_lost(base, past, followed)
    floor, floor_of = _floor([*past, base], followed)
    following = [known for known in members if followed.said.get(known.id) == followed.newest]
    ahead = base.is_there and not base.problem and not followed.believes(base)
    return Ground(
        base=base,
        source=source,
        floor=floor,
        floor_of=floor_of,
        before={**flat(source.values), **(in_force(base.scope, following, newest) if lost else {})},
        again=bool(base.problem) or ahead or base.generation < followed.newest,
        refusal=_ahead(base) if ahead else "",
        warnings=(
            *_warnings(base, source, past, followed, still_lost(base.scope, following, newest) if lost else None),
            *(_refusals(base, members) if source is base else ()),
        ),
    )


def is_lost(base: Version, past: Sequence[Version], followed: Followed) -> bool:
    """Whether devices follow a document that the hub does not have any more."""
    there = {version.generation for version in [*past, base] if version.is_there and not version.problem}
    return followed.newest not in {0, *there} and (followed.newest > base.generation or not followed.believes(base))


def _source(base: Version, past: Sequence[Version], followed: Followed) -> Version:
    """The version that devices follow, if the hub shows a lesser one in its place; else the hub's, if anybody may build upon it."""
    if followed.believes(base) and followed.newest <= base.generation:
        return base
    kept = [version for version in past if followed.believes(version)]
    for version in reversed(kept):
        if version.generation == followed.newest:
            return version
    if base.is_there and not followed.believes(base) and kept and not followed.newest:
        return kept[-1]
    return base if followed.believes(base) else Version(scope=base.scope)


def _floor(versions: Iterable[Version], followed: Followed) -> tuple[int, str]:
    found = [(version.generation, f"by {version.by}") for version in versions if followed.believes(version)]
    if followed.newest:
        found.append((followed.newest, f"{followed.who(followed.newest)} so"))
    return max(found, key=lambda pair: pair[0], default=(0, ""))


def _ahead(base: Version) -> str:
    dated = f"revision {base.revision}, signed by {base.by}, is dated {when(base.generation)}, ahead of this machine's clock"
    return f"{dated}, and {'that login was revoked since' if base.revoked else 'no device says that it follows it'}"


def _warnings(base: Version, source: Version, past: Sequence[Version], followed: Followed, others: str | None) -> Iterable[str]:
    """others: what :func:`still_lost` says; None: nothing is lost."""
    scope, newest = base.scope, followed.newest
    if base.problem:
        yield f"what the hub had for {scope} (revision {base.revision}) counts for nothing: {base.problem}"
    elif base.is_there and not followed.believes(base):
        yield f"{_ahead(base)}; it is not built upon"
    if others is not None:
        dated = f"a document of {scope} (signed {when(newest)}) that the hub has lost"
        yield f"{followed.who(newest)} to follow {dated}; this one replaces it, and what it does not have is gone{others}"
    elif source is not base and source.revision:
        yield f"revision {source.revision} ({source.by}, {when(source.generation)}) counts as the one before: {_why(base, followed)}"
        for version in past:
            if followed.believes(version) and version.generation > source.generation:
                yield f"revision {version.revision} ({version.by}, {when(version.generation)}) is newer, but no device follows it"
    revoked = {version.generation for version in [*past, base] if version.revoked}
    for device, said in followed.said.items():
        if not followed.counts(said) and said not in revoked and said > base.generation:
            yield f"{device} says that it follows a newer one ({when(said)}), which the hub never had; then it does not follow this one"


def _refusals(base: Version, members: Iterable[Known]) -> Iterable[str]:
    """Which devices have seen ``base`` and do not follow it: only they know whose signature counts."""
    said: dict[str, list[str]] = {}
    for known in members:
        state = known.config.scopes.get(str(base.scope)) if known.config else None
        if state and state.error and base.generation == state.desired != state.applied:
            said.setdefault(state.error, []).append(known.id)
    for error, devices in list(said.items())[:NAMED]:
        do = "does" if len(devices) == 1 else "do"
        yield f"{names(devices)} {do} not follow revision {base.revision} ({base.by}), the one before this: {error}"


def _why(base: Version, followed: Followed) -> str:
    if not followed.newest:
        return "it is the last that makes sense"
    shown = f"revision {base.revision}" if base.is_there else "none"
    return f"{followed.who(followed.newest)} to follow it, while the hub shows {shown}"
