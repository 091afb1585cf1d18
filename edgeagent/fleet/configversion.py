"""One document of a scope as the hub keeps it. Pure.

Whoever can write to the hub's store can put anything there. What devices would not follow is shown as such, without its values and
without an author: by the role keys that came with the login (:mod:`edgeagent.fleet.rolekeys`). Without these, what a stranger signed
with a key of the own looks like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from edgeagent.config import document_of
from edgeagent.direct import Stored
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.fleet.rolekeys import judged
from edgeagent.subjects import Scope
from edgeagent.times import rfc3339
from edgeagent.trust import jwt
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import peek

__all__ = ["REMEDY", "Version", "marked_revoked", "moment", "outline_of", "ready", "scope_of", "version_of", "when"]


@dataclass(frozen=True, kw_only=True)
class Version:
    """revision: of the store, 0 where there is nothing. time: when the hub stored it, by its clock; None where there is nothing.

    generation: as it says, Unix milliseconds; 0: it cannot be read. by: whose signature it has. problem: why it is no configuration
    for this scope that devices follow; empty if it is one, or if there is none. With a problem there are no values and no author.
    deleted: only the mark of a deletion is there. claimed: the values of one that is whole, but whose signer does not count: for a
    person to look at, and for nothing else.

    key, issued: the signer's public key, and when the login was issued, Unix seconds. revoked: that login was revoked since.
    """

    scope: Scope
    revision: int = 0
    time: datetime | None = None
    generation: int = 0
    by: str = ""
    note: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    deleted: bool = False
    claimed: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    issued: int = 0
    revoked: bool = False

    @property
    def is_there(self) -> bool:
        return self.revision > 0 and not self.deleted

    def as_dict(self) -> dict[str, Any]:
        """For JSON; ``problem`` only where there is one."""
        found: dict[str, Any] = {
            "scope": str(self.scope),
            "revision": self.revision,
            "generation": self.generation,
            "by": self.by or None,
            "time": rfc3339(self.time) if self.time else None,
            "note": self.note,
            "values": self.values,
        }
        return {**found, "problem": self.problem} if self.problem else found


def scope_of(subject: str) -> Scope | None:
    """The scope of a key of the bucket, ``$KV.edge_config.<kind>.<name>``; None for a stranger's."""
    tokens = subject.split(".")
    return Scope(tokens[2], tokens[3]) if len(tokens) == 4 and tokens[2] in ("fleet", "group", "device") else None


def version_of(scope: Scope, stored: Stored | None, pins: Pins | None = None) -> Version:
    """What can be said of a message of the bucket. Never raises: what makes no sense is said in ``problem``.

    pins: whom devices follow; None: nobody told.
    """
    if stored is None:
        return Version(scope=scope)
    where: dict[str, Any] = {"scope": scope, "revision": stored.sequence, "time": stored.time}
    if stored.deleted:
        return Version(**where, deleted=True)
    try:
        envelope = peek(stored.data)
    except EdgeError as error:
        return Version(**where, problem=f"it is no signed document ({error.why})")
    found = {**where, "generation": max(0, envelope.number)}
    if (envelope.kind, envelope.scope) != ("config", str(scope)):
        return Version(**found, problem=f"it was signed as {envelope.kind} for {envelope.scope}")
    verdict = judged(stored.data, kind="config", scope=scope, pins=pins)
    if not verdict.whole:
        return Version(**found, problem=f"nobody signed it like this ({verdict.problem})")
    claims = jwt.claims(envelope.signer)
    login: dict[str, Any] = {"key": str(claims.get("sub", "")), "issued": _seconds(claims.get("iat")), "revoked": verdict.revoked}
    try:
        document = document_of(envelope.body.encode())
        _check_shows(document.values)
    except EdgeError as error:
        return Version(**found, problem=f"it is no configuration ({error.why})")
    if verdict.problem:
        return Version(**found, **login, problem=f"its signature does not count: {verdict.problem}", claimed=document.values)
    return Version(**found, **login, by=verdict.by, values=document.values, note=document.note)


def _seconds(issued: Any) -> int:
    return issued if isinstance(issued, int) else 0


def outline_of(scope: Scope, stored: Stored) -> Version:
    """Only where, when and which generation, as it says: where thousands are read, looking at each signature takes too long."""
    try:
        generation = 0 if stored.deleted else max(0, peek(stored.data).number)
    except EdgeError:
        generation = 0
    return Version(
        scope=scope,
        revision=stored.sequence,
        time=stored.time,
        generation=generation,
        deleted=stored.deleted,
        problem="not checked",
    )


def _check_shows(value: Any) -> None:
    if value is None:
        raise Failed("show it", "it has a null, which TOML has not")
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            _check_shows(item)


def ready(version: Version) -> Mapping[str, Any]:
    """The values, to be signed again with other ones. Raises Refused unless devices follow just this for just this scope.

    Without role keys that cannot be told; so whoever signs the next one must be shown what changes.
    """
    if version.problem:
        what = f"build on the configuration of {version.scope}"
        raise Refused(what, f"what the hub has (revision {version.revision}): {version.problem}", REMEDY)
    return version.values


REMEDY = "`--force` begins with an empty one, `edgeagent config apply` and `rollback` replace it; ask who wrote it"


def marked_revoked(versions: Iterable[Version], revoked: Mapping[str, int]) -> list[Version]:
    """The same, marked where the signer's login was revoked. revoked: as in :class:`~edgeagent.trust.signers.SignersBody`.

    A device goes on with what such a login signed, but does not ask anything newer to be newer than that.
    """
    return [replace(version, revoked=version.revoked or version.issued <= revoked.get(version.key, -1)) for version in versions]


def moment(generation: int) -> datetime | None:
    """When a document of this generation was signed; None for what is no time."""
    try:
        return datetime.fromtimestamp(generation / 1000, timezone.utc) if generation > 0 else None
    except (OverflowError, OSError, ValueError):
        return None


def when(generation: int) -> str:
    """The same as the time of day here, for a sentence."""
    signed = moment(generation)
    return signed.astimezone().strftime("%Y-%m-%d %H:%M:%S") if signed else f"generation {generation}"
