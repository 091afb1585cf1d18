"""One document of a scope as the hub keeps it. Pure.

Whoever can write to the hub's store can put anything there, so nothing that is read here has been checked: it is for showing. What
is built upon goes through :func:`ready` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from edgeagent.config import document_of
from edgeagent.direct import Stored
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.subjects import Scope
from edgeagent.trust import jwt
from edgeagent.trust.signed import Signed, peek, self_consistent

__all__ = ["Version", "moment", "ready", "scope_of", "version_of"]


@dataclass(frozen=True, kw_only=True)
class Version:
    """revision: of the store, 0 where there is nothing. time: when the hub stored it, by its clock; None where there is nothing.

    generation: as signed, Unix milliseconds; 0: it cannot be read. by: who says to have signed it. problem: why it is no configuration
    for this scope; empty if it is one, or if there is none. deleted: only the mark of a deletion is there.
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
    envelope: Signed | None = None

    @property
    def is_there(self) -> bool:
        return self.revision > 0 and not self.deleted


def scope_of(subject: str) -> Scope | None:
    """The scope of a key of the bucket, ``$KV.edge_config.<kind>.<name>``; None for a stranger's."""
    tokens = subject.split(".")
    return Scope(tokens[2], tokens[3]) if len(tokens) == 4 and tokens[2] in ("fleet", "group", "device") else None


def version_of(scope: Scope, stored: Stored | None) -> Version:
    """What can be said of a message of the bucket. Never raises: what makes no sense is said in ``problem``."""
    if stored is None:
        return Version(scope=scope)
    where: dict[str, Any] = {"scope": scope, "revision": stored.sequence, "time": stored.time}
    if stored.deleted:
        return Version(**where, deleted=True)
    try:
        envelope = peek(stored.data)
    except EdgeError as error:
        return Version(**where, problem=f"it is no signed document ({error.why})")
    found = {**where, "generation": max(0, envelope.number), "by": _signer(envelope), "envelope": envelope}
    if (envelope.kind, envelope.scope) != ("config", str(scope)):
        return Version(**found, problem=f"it was signed as {envelope.kind} for {envelope.scope}")
    try:
        document = document_of(envelope.body.encode())
        _check_shows(document.values)
    except EdgeError as error:
        return Version(**found, problem=f"it is no configuration ({error.why})")
    return Version(**found, values=document.values, note=document.note)


def _check_shows(value: Any) -> None:
    if value is None:
        raise Failed("show it", "it has a null, which TOML has not")
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            _check_shows(item)


def _signer(envelope: Signed) -> str:
    try:
        return str(jwt.claims(envelope.signer).get("name", ""))
    except EdgeError:
        return ""


def ready(version: Version) -> Mapping[str, Any]:
    """The values, to be signed again with other ones. Raises Refused unless somebody signed just this for just this scope.

    That the signer may be followed cannot be told here; so whoever signs the next one must be shown what changes.
    """
    what = f"build on the configuration of {version.scope}"
    if version.problem:
        raise Refused(what, f"what the hub has (revision {version.revision}): {version.problem}", _REMEDY)
    if version.envelope is not None:
        try:
            self_consistent(version.envelope)
        except EdgeError as error:
            raise Refused(what, f"{error.why} (revision {version.revision})", _REMEDY) from None
    return version.values


_REMEDY = "`--force` begins with an empty one, `edgeagent config apply` and `rollback` replace it; ask who wrote it"


def moment(generation: int) -> datetime | None:
    """When a document of this generation was signed; None for what is no time."""
    try:
        return datetime.fromtimestamp(generation / 1000, timezone.utc) if generation > 0 else None
    except (OverflowError, OSError, ValueError):
        return None
