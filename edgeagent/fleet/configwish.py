"""A change of a scope's configuration as it is wished, and what became of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeagent.errors import Refused
from edgeagent.fleet.configchange import Changes
from edgeagent.fleet.configground import Ground
from edgeagent.fleet.configversion import Version
from edgeagent.subjects import Scope

__all__ = ["Edit", "Wish", "Written", "change_of"]

Values = Mapping[str, Any]
#: From what is there to what shall be there, both as nested tables.
Edit = Callable[[Values], dict[str, Any]]


def change_of(scope: Scope) -> str:
    """What an error says that could not be done."""
    return f"change the configuration of {scope}"


@dataclass(frozen=True, kw_only=True)
class Written:
    """revision, generation: of the document that counts now. changes: from the one before, as far as anybody knows that one.

    written: False when nothing was, because nothing changes or only a try was wanted. devices: how many follow the scope. present: the
    ids of those that were online. warnings: what whoever wrote it must know, a sentence each.
    """

    scope: Scope
    revision: int
    generation: int
    changes: Changes
    written: bool
    devices: int
    present: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def online(self) -> int:
        return len(self.present)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; ``warnings`` only where there are any."""
        changed = {name: list(pair) for name, pair in self.changes.items()}
        found = {"scope": str(self.scope), "revision": self.revision, "generation": self.generation, "changed": changed}
        return {**found, "warnings": list(self.warnings)} if self.warnings else found


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What to write. whole: it replaces all, so any change of somebody else's refuses it.

    The rest as in :meth:`~edgeagent.fleet.config.Configuration.set`.
    """

    scope: Scope
    edit: Edit
    whole: bool = False
    note: str = ""
    base: Version | None = None
    revision: int | None = None
    force: bool = False
    dry: bool = False

    @property
    def what(self) -> str:
        return change_of(self.scope)

    def after(self, ground: Ground) -> dict[str, Any]:
        """What shall be there. Raises Refused where it may not be built upon what is there, UsageProblem for what can't be meant."""
        return self.edit({} if self.whole else ground.values(force=self.force))

    def check_revision(self, base: Version) -> None:
        """Raise Refused when the newest must be another one."""
        if self.revision is not None and self.revision != base.revision:
            by = f" by {base.by}" if base.by else ""
            raise Refused(self.what, f"the newest is revision {base.revision}{by}, not {self.revision}")
