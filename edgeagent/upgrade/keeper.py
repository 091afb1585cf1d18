"""Carries an upgrade from one phase to the next, each written down before it begins, so that it goes on after a power cut wherever it was.

Every phase may be done twice. A trial that was broken off is begun once more; the third time it is gone back from, for it may be the
release that takes the machine down.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

import msgspec

from edgeagent.errors import EdgeError
from edgeagent.times import rfc3339
from edgeagent.upgrade.places import Ended, Failure, Phase, Places, Standing, Trial
from edgeagent.upgrade.trial import Judge, Look, Verdict
from edgeagent.upgrade.units import AGENT, LEAF, Unit

__all__ = ["Keeper", "Services"]

#: How often a trial may begin: once, and once more when it was broken off.
MAX_BEGUN = 2
#: How often it looks, and how long a nats-server has to go on before it counts as one that came up, in seconds.
LOOK_SECONDS, LEAF_SECONDS = 0.5, 20.0


class Services(Protocol):
    """What the keeper asks of the machine."""

    def show(self, unit: str) -> Unit: ...
    def restart(self, unit: str) -> None: ...
    def is_linked(self, pid: int, version: str) -> bool:
        """Whether the agent with this process id says that the hub acknowledged it, and that it is of this version."""

    def servers_differ(self, one: Path, other: Path) -> bool:
        """Whether these environments have not the same nats-server."""


class Keeper:
    """alive_seconds, link_seconds: as of :class:`~edgeagent.upgrade.trial.Judge`. say: is told of each phase. clock: monotonic."""

    def __init__(
        self,
        places: Places,
        services: Services,
        *,
        alive_seconds: float,
        link_seconds: float,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._places, self._services, self._say = places, services, say
        self._alive, self._link = alive_seconds, link_seconds
        self._clock, self._sleep = clock, sleep

    def go_on(self, trial: Trial) -> Ended:
        """To its end. Raises EdgeError when the disk or systemd fails; then it goes on at the next start."""
        if trial.phase in ("agent", "leaf"):
            trial = self._begun(trial)
        while trial.phase not in ("done", "back"):
            trial = self._tried(trial)
        return self._finished(trial) if trial.phase == "done" else self._gone_back(trial)

    def _begun(self, trial: Trial) -> Trial:
        if trial.begun >= MAX_BEGUN:
            return self._next(trial, "back", "its trial was broken off twice: the machine, or what carries the trial out, ended")
        return self._kept(msgspec.structs.replace(trial, begun=trial.begun + 1))

    def _tried(self, trial: Trial) -> Trial:
        verdict = self._try_agent(trial) if trial.phase == "agent" else self._try_leaf(trial)
        trial = self._places.trial() or trial
        if not verdict.good:
            return self._next(trial, "back", verdict.why)
        return self._next(trial, "leaf" if trial.phase == "agent" else "done")

    def _next(self, trial: Trial, phase: Phase, why: str = "") -> Trial:
        self._say(f"{trial.version}: {phase}{f', {why}' if why else ''}")
        return self._kept(msgspec.structs.replace(trial, phase=phase, why=why))

    def _kept(self, trial: Trial) -> Trial:
        self._places.keep(trial)
        return trial

    # ---- the trials ----

    def _try_agent(self, trial: Trial) -> Verdict:
        self._places.point(self._places.current, trial.to)
        self._restart(AGENT)
        judge = Judge(alive_seconds=self._alive, link_seconds=self._link)
        while (verdict := judge.see(self._look(trial.version))) is None:
            self._sleep(LOOK_SECONDS)
        return verdict

    def _restart(self, unit: str) -> None:
        """Have it begin anew, and wait until the process of before is gone: what is seen from then on is of the new one."""
        before = self._services.show(unit).pid
        self._services.restart(unit)
        deadline = self._clock() + self._link
        while before and self._services.show(unit).pid == before and self._clock() < deadline:
            self._sleep(LOOK_SECONDS)

    def _look(self, version: str) -> Look:
        unit = self._services.show(AGENT)
        linked = unit.pid != 0 and self._services.is_linked(unit.pid, version)
        return Look(self._clock(), unit.pid, unit.restarts, linked)

    def _try_leaf(self, trial: Trial) -> Verdict:
        """A leaf with another nats-server than before is begun anew with it; one that does not come up is none."""
        if not self._has_other_server(trial):
            return Verdict(True)
        self._kept(msgspec.structs.replace(trial, leaf=True))
        self._restart(LEAF)
        judge = Judge(alive_seconds=LEAF_SECONDS, link_seconds=self._link)
        while (verdict := judge.see(self._leaf_look())) is None:
            self._sleep(LOOK_SECONDS)
        return verdict if verdict.good else Verdict(False, "its nats-server does not come up")

    def _has_other_server(self, trial: Trial) -> bool:
        """Whether the leaf's service is to run another nats-server; it is off where the agent has its own leaf."""
        one, other = (self._places.folder / each for each in (trial.before, trial.to))
        return self._services.servers_differ(one, other) and self._services.show(LEAF).active not in ("", "inactive")

    def _leaf_look(self) -> Look:
        unit = self._services.show(LEAF)
        return Look(self._clock(), unit.pid, unit.restarts, unit.active == "active")

    # ---- the ends ----

    def _finished(self, trial: Trial) -> Ended:
        end = Ended(id=trial.id, version=trial.version, state="succeeded")
        self._places.keep(Standing(before=trial.was, kept=trial.before, last=end, done=trial.id))
        self._places.point(self._places.proven, trial.to)
        self.tidy()
        self._places.forget_trial()
        return end

    def _gone_back(self, trial: Trial) -> Ended:
        self._places.point(self._places.current, trial.before)
        with contextlib.suppress(EdgeError):  # what can't be started again now is started at the next boot
            self._restart(AGENT)
            if (trial.leaf or trial.begun > 1) and self._has_other_server(trial):  # it may run the other one
                self._restart(LEAF)
        return self.failed(trial, "failed", trial.why)

    def failed(self, trial: Trial, state: str, why: str) -> Ended:
        """Say that it has not come to anything; the present environment stays."""
        end = Ended(id=trial.id, version=trial.version, state="refused" if state == "refused" else "failed", why=why)
        failure = Failure(version=trial.version, why=why, at=rfc3339(datetime.now(timezone.utc)))
        standing = self._places.standing()
        failed = failure if end.state == "failed" else standing.failed
        done = trial.id if self._places.trial() else standing.done  # what nobody signed was never begun
        self._places.keep(msgspec.structs.replace(standing, failed=failed, last=end, done=done))
        self.tidy()
        self._places.forget_trial()
        return end

    def tidy(self) -> None:
        """Remove all environments but the present one and the one before; that of the installation itself is no release, and stays."""
        used = {
            self._places.current.resolve(),
            self._places.proven.resolve(),
            (self._places.folder / self._places.standing().kept).resolve(),
        }
        for each in (*self._places.releases.glob("*"), *self._places.folder.glob(".wheels-*")):
            if each.resolve() not in used:
                shutil.rmtree(each, ignore_errors=True)
