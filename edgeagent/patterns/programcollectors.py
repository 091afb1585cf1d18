"""Programs that measure: executables in a folder of the device, which write samples to standard output, one line each.

A line is JSON or InfluxDB's line protocol (:mod:`edgeagent.sample`). Each program runs every ``sampling.interval_seconds``, or as the
manifest beside it says, or keeps running. One that takes too long, floods, never ends a line or forks away is ended with all that it
started; the others go on. Only root, or the user of the agent, may be able to change what is there.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edgeagent import files
from edgeagent.backoff import Backoff
from edgeagent.collectors import NAME, NAME_RULE
from edgeagent.errors import EdgeError, UsageProblem
from edgeagent.localsubjects import local_metric
from edgeagent.machine import Machine
from edgeagent.patterns.collectorhealth import Healths
from edgeagent.patterns.programs import Program, Tail, check_file
from edgeagent.patterns.runner import Ended, run
from edgeagent.patterns.samplelines import Lines
from edgeagent.patterns.sampler import SOURCE
from edgeagent.runtime import woken
from edgeagent.sample import Sample, parse

__all__ = ["Manifest", "ProgramCollector", "load_folder"]

#: How long one that shall end may take before it is killed, in seconds.
GRACE_SECONDS = 2.0
#: A program that keeps running is never too late: so long nothing runs.
_FOR_EVER_SECONDS = 1e8
#: Bounds of the pause before one that ended, though it should keep running, is started again; and when it was good, in seconds.
RESTART_SECONDS, GOOD_SECONDS = (1.0, 300.0), 60.0
#: What is told of a program's last words, in characters.
MAX_WORDS = 200

Take = Callable[[str, list[Sample]], None]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``NAME.toml`` beside the program; without it all of this counts.

    interval_seconds: how often it runs; None: as the collectors do. keeps_running: it is started once and writes lines as they come.
    timeout_seconds: how long a run may take. user: who runs it; empty: the agent's own.
    """

    interval_seconds: Annotated[float, Meta(ge=1, le=86400)] | None = None
    keeps_running: bool = False
    timeout_seconds: Annotated[float, Meta(gt=0, le=3600)] = 10.0
    user: Annotated[str, Meta(max_length=64)] = ""


class ProgramCollector:
    """One program. path: where it is. interval_seconds: how often the agent's own collectors run."""

    def __init__(self, path: Path, manifest: Manifest, interval_seconds: float = 30.0) -> None:
        self.name, self._path, self.manifest = path.name, path, manifest
        self._interval_seconds, self._enabled = interval_seconds, True
        self._changed = asyncio.Event()

    def set(self, *, interval_seconds: float, enabled: bool) -> None:
        """Go on with these."""
        if (interval_seconds, enabled) != (self._interval_seconds, self._enabled):
            self._interval_seconds, self._enabled = interval_seconds, enabled
            self._changed.set()

    async def keep(self, take: Take, healths: Healths) -> None:
        """Run it as often as it shall, for ever. take: gets its samples, with its name as their source."""
        backoff = Backoff(*RESTART_SECONDS, good_seconds=GOOD_SECONDS)
        while True:
            if not self._enabled:
                await woken(self._changed, None)
                continue
            began = time.monotonic()
            await self.once(take, healths)
            lasted = time.monotonic() - began
            if self.manifest.keeps_running:
                pause = backoff.next(lasted)
            else:
                pause = max((self.manifest.interval_seconds or self._interval_seconds) - lasted, 0.0)
            await woken(self._changed, pause)

    async def once(self, take: Take, healths: Healths) -> str:
        """Run it once, to its end; why that was no good, empty when it was."""
        began, counted = time.monotonic(), 0

        def line(text: bytes) -> None:
            nonlocal counted
            try:
                found = parse(local_metric(self.name), text)
            except UsageProblem as problem:
                healths.of(self.name).malformed += 1
                lines.problem = lines.problem or f"a line is no sample: {problem.why}"
                return
            counted += len(found)
            take(self.name, found)

        cut_off, lines = asyncio.Event(), Lines(line, keeps_running=self.manifest.keeps_running)
        error = await self._run(lines, cut_off)
        taken = healths.ran(self.name, seconds=time.monotonic() - began, samples=counted, error=error)
        take(SOURCE, list(taken))
        return error

    async def _run(self, lines: Lines, cut_off: asyncio.Event) -> str:
        said = Tail(1 << 10)
        manifest = self.manifest
        program = Program(
            argv=(str(self._path),),
            user=manifest.user,
            timeout_seconds=_FOR_EVER_SECONDS if manifest.keeps_running else manifest.timeout_seconds,
            grace_seconds=GRACE_SECONDS,
            everything_ends=True,
            answer_bytes=0,
        )

        def answer(data: bytes) -> None:
            lines.add(data)
            if lines.too_much:
                cut_off.set()

        stop = asyncio.ensure_future(self._until_disabled(cut_off))
        try:
            check_file(self._path, {0, os.geteuid()})
            ended = await run(program, said.add, cut_off, answer=answer)
        except EdgeError as problem:
            return str(problem)
        finally:
            stop.cancel()
        lines.end()
        return self._judged(ended, lines, said)

    async def _until_disabled(self, cut_off: asyncio.Event) -> None:
        while self._enabled:
            await self._changed.wait()
            self._changed.clear()
        self._changed.set()
        cut_off.set()

    def _judged(self, ended: Ended, lines: Lines, said: Tail) -> str:
        """Why the run was no good."""
        if lines.too_much:
            return f"it {lines.too_much}, and was cut off"
        if ended.how == "timed_out":
            return f"it did not end within {self.manifest.timeout_seconds:g} s, and was cut off"
        if ended.how == "cancelled":
            return ""  # it was disabled
        words = said.text.strip().rpartition("\n")[2][:MAX_WORDS]
        if ended.exit_code or self.manifest.keeps_running:
            how = f"was ended by {ended.signal}" if ended.signal else f"ended with the exit code {ended.exit_code}"
            return f"it {how}{f': {words}' if words else ''}"
        return lines.problem


def load_folder(machine: Machine, folder: Path) -> tuple[list[ProgramCollector], dict[str, str]]:
    """The programs in a folder of the machine, and ``{name: why it can't be used}`` of the others. The agent asks when it starts."""
    found, failures = [], {}
    for path in sorted(machine.path(str(folder)).glob("*")):
        if path.suffix == ".toml" or path.name.startswith("."):
            continue
        try:
            found.append(ProgramCollector(path, _manifest(path)))
        except (EdgeError, ValueError) as error:
            failures[path.name] = str(error)
    return found, failures


def _manifest(path: Path) -> Manifest:
    """Raises EdgeError, or ValueError for a name that cannot be."""
    if not NAME.match(path.name):
        raise ValueError(f"its name must be {NAME_RULE}: it is the source of its samples")
    check_file(path, {0, os.geteuid()})
    manifest = path.with_name(f"{path.name}.toml")
    if not manifest.exists():
        return Manifest()
    check_file(manifest, {0, os.geteuid()}, runs=False)
    try:
        return msgspec.toml.decode(files.read_text(manifest), type=Manifest)
    except (msgspec.DecodeError, ValueError) as error:
        why = str(error).replace("`", "")
        raise UsageProblem(f"use {manifest}", why, "docs/metrics.md says what may stand in it") from None
