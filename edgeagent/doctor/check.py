"""What a check of `edgeagent doctor` is: readers that gather facts, and a pure function that says what they mean.

Everything that a check can say is declared as a :class:`Case`, with its remedy; docs/doctor.md is made of the same declarations.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from edgeagent import settings as settingsfile
from edgeagent.assembly.findings import Finding, Level
from edgeagent.errors import EdgeError
from edgeagent.machine import Machine
from edgeagent.places import is_there
from edgeagent.settings import Settings

__all__ = ["ONLY_ROOT", "Case", "Check", "Patient", "size_of", "times"]


@dataclass(frozen=True, kw_only=True)
class Patient:
    """Whose doctor it is.

    settings: of the agent of this machine; those of a system's agent where its own can't be read. problem: why they can't be.
    machine: where /proc, /sys and /etc are. now: the clock, Unix seconds.
    """

    settings: Settings
    problem: EdgeError | None = None
    machine: Machine = field(default_factory=Machine)
    now: Callable[[], float] = time.time

    @classmethod
    def load(cls, settings: Callable[[], Settings] = settingsfile.load, **more: Any) -> Patient:
        """settings: reads them. more: as for the class."""
        try:
            return cls(settings=settings(), **more)
        except EdgeError as error:
            return cls(settings=Settings(), problem=error, **more)

    @property
    def is_installed(self) -> bool:
        """Whether there is anything of an agent on this machine: settings, state, or the trace of a run."""
        own = self.settings
        return own.source is not None and any(is_there(path) for path in (own.source, own.state_folder, own.status_file))

    @property
    def is_known(self) -> bool:
        """Whether there is an agent, and its settings are known."""
        return self.problem is None and self.is_installed

    @property
    def may_look(self) -> bool:
        """Whether we may look into the state folder; one that is not there hides nothing."""
        folder = self.settings.state_folder
        return not is_there(folder) or os.access(folder, os.R_OK | os.X_OK)


@dataclass(frozen=True)
class Case:
    """One thing that a check may say. text, remedy: with the names of values in braces. For docs/doctor.md are means: more about it; and
    shown: what stands there in the place of a text that says too little without its values.
    """

    level: Level
    text: str
    remedy: str = ""
    means: str = ""
    shown: str = ""

    def __call__(self, **values: object) -> Finding:
        return Finding(self.level, self.text.format(**values), self.remedy.format(**values))


@dataclass(frozen=True)
class Check:
    """name: the word before what it says, 12 characters at most. about: what it looks at, for docs/doctor.md.

    reads: what gathers the facts; each may block for some seconds, and is called once for all checks that want it. judge: says what they
    mean; it gets what the readers returned, in their order. Nothing is said where there is nothing to say.
    cases: all that it can say. alone: it makes sense where there is no agent, or none whose settings are known.
    """

    name: str
    about: str
    reads: tuple[Callable[[Patient], Any], ...]
    judge: Callable[..., Iterable[Finding]]
    cases: tuple[Case, ...]
    alone: bool = False


ONLY_ROOT = Case("unknown", "only root and the agent may look at {what}", "`sudo edgeagent doctor`")

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size_of(count: float) -> str:
    """Bytes for people: ``12.3 GiB``."""
    power = 0
    while count >= 1024 and power < len(_UNITS) - 1:
        count, power = count / 1024, power + 1
    return f"{count:.1f} {_UNITS[power]}" if power else f"{count:.0f} B"


def times(count: int) -> str:
    """``once``, ``3 times``."""
    return "once" if count == 1 else f"{count} times"
