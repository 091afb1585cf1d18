"""Which hub a device is linked to: what is tried, what is given up, and what is decided by nothing but the device's own network."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgeagent.leaf.hubchoice import (
    AGAIN_SECONDS,
    AWAY_SECONDS,
    BLAME_SECONDS,
    GIVEN_UP_SECONDS,
    LONG_AWAY_SECONDS,
    MAX_TRIES,
    ONCE_MORE_SECONDS,
    SPREAD_SECONDS,
    START_SECONDS,
    TRIAL_SECONDS,
    Go,
    HubChoice,
    Moved,
    Pause,
    Visit,
)
from edgeagent.leaf.hubkept import Kept

A, B, C = "tls://a:7422", "tls://b1:7422,tls://b2:7422", "tls://c:7422"
PLAIN = "nats-leaf://old:7422"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Device:
    """A choice in a world: which hubs store what this device sends, and whether its own network does anything."""

    def __init__(self, *wanted: str, own: tuple[str, ...] = (A,), kept: Kept | None = None, alive: tuple[str, ...] = ()) -> None:
        self.clock = Clock()
        self.own, self.alive, self.network = own, set(alive), True
        self.lets_in: set[str] = set()  # and stores nothing for the leaf, though it did for the visitor
        self.says_nothing: set[str] = set()
        self.visits: list[str] = []
        self.went: list[str] = []
        self.told: list[Moved] = []
        self.disk = kept or Kept()
        self.start(*wanted)

    def start(self, *wanted: str) -> None:
        self.wanted = wanted
        self.choice = HubChoice(wanted, self.own, self.disk, clock=self.clock, draw=lambda low, high: (low + high) / 2)

    def wish(self, *wanted: str) -> None:
        self.wanted = wanted
        self.choice.wish(wanted)

    def beat(self) -> None:
        if self.network and self.choice.current in self.alive - self.lets_in:
            self.choice.acknowledged()
        else:
            self.choice.failed()

    def step(self) -> None:
        choice = self.choice
        step = choice.decide()
        if isinstance(step, Visit):
            self.visits.append(step.entry)
            self.clock.now += 1
            good = self.network and step.entry in self.alive
            choice.visited(step.entry, "" if good else "nothing listens there", is_certain=step.entry not in self.says_nothing)
        elif isinstance(step, Go):
            self.disk = choice.keeping(step.entry)
            choice.went(step.entry)
            self.went.append(step.entry)
        elif choice.is_over:
            choice.trial_failed("it stores nothing")
        else:
            self.clock.now += 1
        self.beat()
        if not choice.is_trying:
            self.disk = choice.kept
        self.told += choice.news
        choice.news = []

    def run(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.step()

    def until(self, true: Callable[[], bool], seconds: float) -> None:
        end = self.clock.now + seconds
        while not true():
            assert self.clock.now < end, (self.choice.current, self.visits, self.told)
            self.step()


@pytest.fixture
def device() -> Device:
    """Linked to A since it began."""
    found = Device(A, alive=(A,))
    found.run(2 * START_SECONDS)
    assert found.visits == [] and found.disk == Kept(good=A)
    return found


def test_a_device_with_one_hub_never_does_anything(device: Device) -> None:
    device.alive.clear()
    device.run(5 * LONG_AWAY_SECONDS)
    assert (device.visits, device.went, device.told) == ([], [], [])
    assert Device(own=()).choice.decide() == Pause(None)


def test_a_move_is_a_visit_and_then_the_leaf(device: Device) -> None:
    device.alive.add(B)
    device.wish(B)
    device.until(lambda: bool(device.told), SPREAD_SECONDS + 5)
    assert (device.visits, device.went, device.told) == ([B], [B], [Moved(B, B)])
    assert device.disk == Kept(good=B, before=A)
    device.run(LONG_AWAY_SECONDS)
    assert device.went == [B]


def test_the_way_back_by_the_same_means(device: Device) -> None:
    device.alive.add(B)
    for wanted in (B, A, B):
        device.wish(wanted)
        device.until(lambda wanted=wanted: device.told[-1:] == [Moved(wanted, wanted)], 60)  # type: ignore[misc]
    assert device.went == [B, A, B]


def test_what_does_not_work_is_given_up_without_leaving_what_does(device: Device) -> None:
    device.wish(B)
    device.until(lambda: bool(device.told), SPREAD_SECONDS + 5)
    assert device.told == [Moved(B, A, "nothing listens there")] and device.went == []
    assert device.choice.given_up == {B: "nothing listens there"}
    device.run(GIVEN_UP_SECONDS / 2)
    assert device.visits == [B]
    device.run(GIVEN_UP_SECONDS)
    assert device.visits == [B, B] and len(device.told) == 1, "seldom, and told once"
    device.alive.add(B)
    device.run(GIVEN_UP_SECONDS)
    assert device.choice.current == B and device.choice.given_up == {}


def test_another_document_is_tried_at_once(device: Device) -> None:
    device.wish(B)
    device.until(lambda: bool(device.told), 60)
    device.alive.add(C)
    device.wish(C)
    device.until(lambda: device.choice.current == C, SPREAD_SECONDS + 5)


def test_who_says_nothing_is_asked_twice(device: Device) -> None:
    device.says_nothing.add(B)
    device.wish(B)
    device.until(lambda: bool(device.told), SPREAD_SECONDS + ONCE_MORE_SECONDS + 10)
    assert device.visits == [B, B]


def test_a_hub_that_only_seemed_to_work_is_left_within_the_trial(device: Device) -> None:
    device.alive.add(B)
    device.lets_in.add(B)
    device.wish(B)
    device.until(lambda: bool(device.told), SPREAD_SECONDS + TRIAL_SECONDS + 10)
    assert (device.went, device.told) == ([B, A], [Moved(B, A, "it stores nothing")])
    assert device.disk == Kept(good=A)


def test_all_of_it_takes_less_than_five_minutes(device: Device) -> None:
    """A visit takes half a minute at most (edgeagent.assembly.hublook)."""
    assert SPREAD_SECONDS + 2 * 30 + ONCE_MORE_SECONDS + TRIAL_SECONDS + BLAME_SECONDS < 300


def test_nothing_is_decided_while_nothing_works(device: Device) -> None:
    device.alive.add(B)
    device.network = False
    device.beat()
    device.wish(B)
    device.run(3 * 3600)
    assert (device.told, device.went, device.choice.given_up) == ([], [], {})
    assert set(device.visits) == {B} and len(device.visits) < 30, "and not in haste"
    device.network = True
    device.until(lambda: device.choice.current == B, SPREAD_SECONDS + 5)


def test_a_network_that_fails_in_the_midst_of_a_move_is_not_the_hubs_fault(device: Device) -> None:
    device.alive.add(B)
    device.wish(B)
    device.until(lambda: device.choice.is_trying or bool(device.told), 60)
    device = Device(A, alive=(A, B))
    device.run(60)
    device.lets_in.add(B)
    device.wish(B)
    device.until(lambda: device.choice.is_trying, 60)
    device.network = False
    device.run(TRIAL_SECONDS + BLAME_SECONDS + 60)
    assert device.told == [] and device.choice.given_up == {} and device.choice.current == A
    device.network = True
    device.lets_in.clear()
    device.until(lambda: device.choice.current == B, AGAIN_SECONDS[1])
    assert [each.why for each in device.told] == [""]


def test_when_the_hub_stays_away_another_that_is_wanted_takes_its_place_and_the_first_comes_back() -> None:
    device = Device(A, B, alive=(A, B))
    device.run(60)
    device.alive.remove(A)
    device.run(AWAY_SECONDS - 10)
    assert device.went == [], "a hub that begins anew is waited for"
    device.until(lambda: device.choice.current == B, 60)
    device.run(3 * 3600)
    assert device.went == [B]
    device.alive.add(A)
    device.until(lambda: device.choice.current == A, 2 * GIVEN_UP_SECONDS)


def test_a_device_whose_new_hub_died_knocks_where_it_was_before(device: Device) -> None:
    """Nobody could tell it of another one."""
    device.alive.add(B)
    device.wish(B)
    device.until(lambda: device.disk.good == B, 60)
    device.alive.remove(B)
    device.run(LONG_AWAY_SECONDS - 10)
    assert device.went == [B]
    device.until(lambda: device.choice.current == A, 600)
    device.wish(A)
    device.run(GIVEN_UP_SECONDS)
    assert device.went == [B, A]


def test_but_not_without_tls_where_it_had_that() -> None:
    device = Device(PLAIN, own=(PLAIN,), alive=(PLAIN, B))
    device.run(60)
    device.wish(B)
    device.until(lambda: device.disk.good == B, 60)
    device.alive.remove(B)
    device.run(5 * LONG_AWAY_SECONDS)
    assert device.visits == [B] and device.choice.current == B


def test_what_was_given_up_is_tried_again_when_there_is_nothing_else(device: Device) -> None:
    device.wish(B)
    device.until(lambda: bool(device.told), 60)
    device.alive = {B}
    device.until(lambda: device.choice.current == B, AWAY_SECONDS + 60)


def test_a_wish_that_is_taken_back_in_the_midst_of_it(device: Device) -> None:
    device.alive.add(B)
    device.lets_in.add(B)
    device.wish(B)
    device.until(lambda: device.choice.is_trying, 60)
    device.wish(A)
    device.until(lambda: device.choice.current == A and device.choice.works, 10)
    assert device.disk == Kept(good=A) and device.told == []
    device.run(3600)
    assert device.went == [B, A]


def test_an_agent_that_ended_in_the_midst_of_it_goes_back_first_and_then_tries_again(device: Device) -> None:
    device.alive.add(B)
    device.lets_in.add(B)
    device.wish(B)
    device.until(lambda: device.choice.is_trying, 60)
    assert device.disk == Kept(good=A, trying=B, tries=1)
    device.start(B)
    assert device.choice.current == B, "where the leaf still is"
    device.until(lambda: device.choice.current == A, 5)
    device.lets_in.clear()
    device.until(lambda: device.disk == Kept(good=B, before=A), START_SECONDS + 10)


def test_a_hub_that_ends_the_agent_each_time_is_given_up(device: Device) -> None:
    device.alive.add(B)
    device.lets_in.add(B)
    device.wish(B)
    for _ in range(MAX_TRIES):
        device.until(lambda: device.choice.is_trying, 2 * START_SECONDS)
        device.start(B)
    device.run(3600)
    assert device.choice.current == A and device.disk.good == A and not device.choice.is_trying
    assert device.told[-1].why == f"the agent ended {MAX_TRIES} times while it tried it"


def test_the_start_begins_where_it_worked_last() -> None:
    device = Device(B, own=(A,), kept=Kept(good=A), alive=(A,))
    assert device.choice.current == A
    assert Device(B, own=(A,)).choice.current == B
    device.until(lambda: bool(device.told), START_SECONDS + 10)
    assert device.told == [Moved(B, A, "nothing listens there")], "once at every start"


def test_a_leaf_that_does_not_take_it(device: Device) -> None:
    device.alive.add(B)
    device.wish(B)
    while not isinstance(device.choice.decide(), Go):
        device.step()
    device.choice.could_not_go(B, "it says no")
    device.run(600)
    assert device.told == [Moved(B, A, "it says no")] and device.choice.current == A
