"""Trials of releases: how one is judged by what is seen, and how it goes on wherever the power went."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeagent.errors import Failed
from edgeagent.upgrade.keeper import Keeper
from edgeagent.upgrade.places import Ended, Places, Trial
from edgeagent.upgrade.trial import Judge, Look, Verdict
from edgeagent.upgrade.units import AGENT, LEAF, Unit, shown

ALIVE, LINK = 300.0, 600.0
OLD, NEW = ".", "releases/2.0"


def judged(*looks: Look) -> Verdict | None:
    judge, found = Judge(alive_seconds=ALIVE, link_seconds=LINK), None
    for look in looks:
        assert found is None, "it was judged before"
        found = judge.see(look)
    return found


def test_an_agent_that_links_and_lives_has_proved_itself() -> None:
    assert judged(Look(0, 7, 0, False), Look(10, 7, 0, True), Look(299, 7, 0, False)) is None
    assert judged(Look(0, 7, 0, False), Look(10, 7, 0, True), Look(300, 7, 0, False)) == Verdict(True)


def test_one_that_has_not_linked_has_not_however_long_it_lives() -> None:
    assert judged(Look(0, 7, 0, False), Look(599, 7, 0, False)) is None
    found = judged(Look(0, 7, 0, False), Look(600, 7, 0, False))
    assert found == Verdict(False, "its agent has not reached the hub within 600 s")


def test_what_systemd_had_to_start_again_is_none() -> None:
    found = judged(Look(0, 7, 3, False), Look(5, 7, 3, True), Look(60, 0, 3, False), Look(62, 8, 4, True))
    assert found == Verdict(False, "its agent ended after 60 s, and had to be started again")


def test_a_person_who_restarts_it_has_it_counted_anew() -> None:
    restarted = (Look(0, 7, 2, True), Look(100, 0, 2, False), Look(101, 8, 0, False), Look(400, 8, 0, True))
    assert judged(*restarted) is None
    assert judged(*restarted, Look(401, 8, 0, True)) == Verdict(True)


def test_a_person_who_stops_it_does_not_keep_the_trial_open_for_ever() -> None:
    found = judged(Look(0, 7, 0, True), Look(100, 0, 0, False), Look(1199, 0, 0, False), Look(1200, 0, 0, False))
    assert found == Verdict(False, "its agent has not gone on for 300 s as one process")


def test_systemd_is_understood() -> None:
    assert shown("MainPID=712\nNRestarts=3\nActiveState=active\n") == Unit(712, 3, "active")
    assert shown("") == Unit()


# ---- carried out ----


class PowerCut(BaseException):
    """Everything stops."""


class Pi:
    """A device whose time is ours. dies: after how many seconds an agent of the new release ends by itself; never_links: it does not link.

    cut: at which look at the machine, or step on its disk, the power goes.
    """

    def __init__(self, folder: Path, *, dies: float = 1e9, links: bool = True, server: str = "same") -> None:
        self.places, self.time, self.dies, self.links, self.server = Places(folder), 0.0, dies, links, server
        self.pids = itertools.count(100)
        (folder / "releases/2.0").mkdir(parents=True)
        for link in (self.places.current, self.places.proven):
            link.symlink_to(OLD)
        self.steps, self.cut, self.leaf, self.leaf_runs = 0, 0, 1, OLD
        self.broken_leaf = server == "broken"
        self.boot()

    def boot(self) -> None:
        self.leaf_runs, self.leaf, self.leaf_restarts = self.now(), next(self.pids), 0
        self.start_agent()

    def now(self) -> str:
        return str(self.places.current.readlink())

    def start_agent(self) -> None:
        self.runs, self.pid, self.born, self.restarts = self.now(), next(self.pids), self.time, 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.cut:
            raise PowerCut

    def sleep(self, seconds: float) -> None:
        self.step()
        self.time += 40 * seconds

    # ---- as the keeper sees it ----

    def show(self, unit: str) -> Unit:
        if unit == LEAF:
            broken = self.broken_leaf and self.leaf_runs == NEW
            self.leaf_restarts += broken
            return Unit(self.leaf, self.leaf_restarts, "activating" if broken else "active")
        if self.runs == NEW and self.time - self.born >= self.dies:
            self.restarts, self.pid, self.born = self.restarts + 1, next(self.pids), self.time
        return Unit(self.pid, self.restarts, "active")

    def restart(self, unit: str) -> None:
        self.step()
        if unit == AGENT:
            self.start_agent()
        else:
            self.leaf_runs, self.leaf, self.leaf_restarts = self.now(), next(self.pids), 0

    def is_linked(self, pid: int, version: str) -> bool:
        if self.broken_leaf and self.leaf_runs == NEW:
            return False
        return pid == self.pid and (self.runs == OLD or (self.links and version == "2.0"))

    def servers_differ(self, one: Path, other: Path) -> bool:
        return self.server != "same"

    def keeper(self) -> Keeper:
        return Keeper(
            self.places,
            self,
            alive_seconds=60.0,
            link_seconds=80.0,
            say=lambda line: None,
            clock=lambda: self.time,
            sleep=self.sleep,
        )


@pytest.fixture
def cutting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Pi], None]:
    """Have each step on the disk of a device be one at which its power may go: before it, for what is done is whole."""

    def cut(pi: Pi) -> None:
        for name in ("keep", "point", "forget_trial"):
            real = getattr(Places, name)

            def stepped(places: Places, *args: object, real: Callable[..., None] = real) -> None:
                pi.step()
                real(places, *args)

            monkeypatch.setattr(Places, name, stepped)

    return cut


def trial() -> Trial:
    return Trial(id="C1", version="2.0", phase="agent", to=NEW, before=OLD, was="1.0")


def lives(pi: Pi, cuts: Iterator[int]) -> Ended:
    """What becomes of it, with the power going at each of these steps, counted from the last cut."""
    pi.places.keep(trial())
    pi.steps, pi.cut = 0, next(cuts, 0)
    while True:
        try:
            found = pi.places.trial()
            if found is None:
                last = pi.places.standing().last
                assert last is not None
                return last
            pi.keeper().go_on(found)
        except PowerCut:
            pi.boot()
            pi.steps, pi.cut = 0, next(cuts, 0)


@pytest.mark.parametrize("server", ["same", "newer"])
def test_a_good_release_stays_and_the_one_before_is_kept(tmp_path: Path, server: str) -> None:
    pi = Pi(tmp_path, server=server)
    leaf = pi.leaf
    assert lives(pi, iter(())).state == "succeeded"
    assert (pi.now(), pi.runs, str(pi.places.proven.readlink())) == (NEW, NEW, NEW)
    assert (pi.leaf == leaf) == (server == "same"), "a leaf goes on unless its nats-server is another"
    assert pi.places.standing().before == "1.0"


BAD = {
    "dies": ({"dies": 40.0}, "its agent ended after 40 s"),
    "never links": ({"links": False}, "has not reached the hub"),
    "its server is broken": ({"server": "broken"}, "its nats-server does not come up"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_release_is_gone_back_from_and_named(tmp_path: Path, bad: str) -> None:
    how, why = BAD[bad]
    pi = Pi(tmp_path, **how)  # type: ignore[arg-type]
    end = lives(pi, iter(()))
    assert end.state == "failed" and why in end.why
    assert (pi.now(), pi.runs, pi.leaf_runs, str(pi.places.proven.readlink())) == (OLD, OLD, OLD, OLD)
    failed = pi.places.standing().failed
    assert failed is not None and failed.version == "2.0" and why in failed.why
    assert not (tmp_path / NEW).exists()


@pytest.mark.parametrize("how", [{}, {"server": "newer"}, *(how for how, _ in BAD.values())], ids=str)
def test_the_power_may_go_at_every_step(tmp_path: Path, cutting: Callable[[Pi], None], how: dict[str, object]) -> None:
    counted = Pi(tmp_path / "counted", **how)  # type: ignore[arg-type]
    cutting(counted)
    uncut = lives(counted, iter(()))
    for step in range(1, counted.steps + 1):
        pi = Pi(tmp_path / str(step), **how)  # type: ignore[arg-type]
        cutting(pi)
        end = lives(pi, iter([step]))
        assert end.state == uncut.state, f"cut at step {step}"
        settled = {pi.now(), pi.runs, str(pi.places.proven.readlink()), *([pi.leaf_runs] if pi.server != "same" else [])}
        assert settled == ({NEW} if end.state == "succeeded" else {OLD}), f"cut at step {step}"


def test_a_release_that_takes_the_machine_down_again_and_again_is_gone_back_from(tmp_path: Path) -> None:
    pi = Pi(tmp_path)
    end = lives(pi, iter([2, 2, 2]))
    assert end.state == "failed" and "broken off twice" in end.why and pi.now() == OLD


def test_only_the_present_environment_and_the_one_before_are_kept(tmp_path: Path) -> None:
    pi = Pi(tmp_path)
    (tmp_path / "releases/1.5").mkdir()
    (tmp_path / ".wheels-x").mkdir()
    lives(pi, iter(()))
    assert sorted(each.name for each in (tmp_path / "releases").iterdir()) == ["2.0"]


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "trial.json").write_text("{")
    with pytest.raises(Failed, match="damaged"):
        Places(tmp_path).trial()
