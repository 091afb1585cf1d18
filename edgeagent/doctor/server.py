"""Whether there is a nats-server that runs on this machine and is new enough."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeagent.assembly.findings import Finding
from edgeagent.doctor.check import Case, Check, Patient
from edgeagent.doctor.leafport import Answering, answering
from edgeagent.errors import EdgeError
from edgeagent.natsserver import binary
from edgeagent.natsserver.binary import Binary

__all__ = ["SERVER", "Program", "judge", "made_for", "read"]

GOOD = Case("good", "{version} at {path}")
UNUSABLE = Case("wrong", "cannot {what}: {why}", "{remedy}", shown="there is none, or it can't be used: {why}")
FOREIGN = Case(
    "wrong",
    "{path} is for {theirs}, and this machine is {ours}",
    "install the release for this machine (github.com/nats-io/nats-server/releases) and name it in `leaf.server` in agent.toml",
)
STALE = Case(
    "warn",
    "{version} at {path}, and the leaf still runs {running}",
    "restart the leaf: `sudo systemctl restart edgeagent-leaf`, or the agent where it runs the leaf itself",
)

#: e_machine of ELF (elf(5), linux/elf-em.h) -> as uname says it.
_MACHINES = {0x03: "i686", 0x28: "arm", 0x3E: "x86_64", 0xB7: "aarch64", 0xF3: "riscv64"}


@dataclass(frozen=True, kw_only=True)
class Program:
    """found: it runs, and is new enough; None: :attr:`problem` says why not. path: where it is. made_for: whose machine code it is,
    empty when that is not known. ours: what this machine is."""

    found: Binary | None = None
    problem: EdgeError | None = None
    path: Path | None = None
    made_for: str = ""
    ours: str = ""


def read(patient: Patient) -> Program:
    path, named = None, patient.settings.leaf.server
    try:
        path = binary.locate(named)
        return Program(found=binary.find(named), path=path)
    except EdgeError as error:
        return Program(problem=error, path=path, made_for=_made_for(path), ours=platform.machine())


def _made_for(path: Path | None) -> str:
    try:
        with path.open("rb") as file:  # type: ignore[union-attr]  # None is no file either
            return made_for(file.read(20))
    except (AttributeError, OSError):
        return ""


def made_for(head: bytes) -> str:
    """For which machine a program is, by its first 20 bytes; empty when they do not say."""
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return ""
    number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return _MACHINES.get(number, f"another machine (ELF {number})")


def judge(program: Program, leaf: Answering) -> Iterator[Finding]:
    found, problem = program.found, program.problem
    if found is not None:
        stale = leaf.is_ours and leaf.version and leaf.version != found.version
        yield (STALE if stale else GOOD)(version=found.version, path=found.path, running=leaf.version)
    elif problem is not None and program.made_for and not _fits(program.made_for, program.ours):
        yield FOREIGN(path=program.path, theirs=program.made_for, ours=program.ours)
    elif problem is not None:
        yield UNUSABLE(what=problem.what, why=problem.why, remedy=problem.remedy)


def _fits(theirs: str, ours: str) -> bool:
    """Whether it may run: 64-bit machines run their own 32-bit programs too."""
    return ours.startswith(theirs) or (theirs, ours) in (("arm", "aarch64"), ("i686", "x86_64"))


SERVER = Check(
    "nats-server",
    "Whether the nats-server that the leaf is made of is there, runs on this machine, and is new enough; and whether the leaf that runs is it.",
    (read, answering),
    judge,
    (GOOD, UNUSABLE, FOREIGN, STALE),
)
