"""What a check found, for `edgeagent check`, `edgeagent doctor` and `edgeagent hub doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeagent.errors import EdgeError

__all__ = ["Finding", "Level"]

#: good: as it should be. warn: it works, and will not for ever, or not for everybody. wrong: it does not work, or is not safe.
#: unknown: who asked may not look at it.
Level = Literal["good", "warn", "wrong", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. remedy: what to do about it; empty when there is nothing. check: the name of what looked; empty: it is
    in the text."""

    level: Level
    text: str
    remedy: str = ""
    check: str = ""

    @property
    def good(self) -> bool:
        return self.level == "good"

    @classmethod
    def of(cls, error: EdgeError) -> Finding:
        """What made a check impossible is itself a finding."""
        return cls("wrong", f"{error.what}: {error.why}", error.remedy)
