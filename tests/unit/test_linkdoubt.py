"""When a link that looks up is doubted enough to be ended, and when a leaf is to begin anew."""

import pytest

from edgeagent.leaf.linkdoubt import (
    CAP_SECONDS,
    FIRST_SECONDS,
    LADDER,
    RESTART_SECONDS,
    SILENT_PAUSE_SECONDS,
    SILENT_QUESTIONS,
    SILENT_SECONDS,
    SPREAD_SECONDS,
    LinkDoubt,
    Step,
)

#: From one heartbeat to the next, in seconds.
LATER = 5.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def doubt(clock: Clock) -> LinkDoubt:
    """With the shortest pauses that chance may give."""
    doubt = LinkDoubt(clock, draw=lambda low, high: low)
    doubt.came()
    return doubt


def until_step(doubt: LinkDoubt, clock: Clock) -> Step:
    """The next step of a link that comes again and again, and is never good."""
    while (step := doubt.unanswered()) is None:
        clock.now += LATER
        doubt.came()
    return step


def test_a_link_that_never_worked_is_ended_at_once(doubt: LinkDoubt) -> None:
    assert doubt.unanswered() is Step.DIAL


def test_but_not_by_a_whole_fleet_in_step(clock: Clock) -> None:
    """They all come back to a hub that has just begun, and does not acknowledge yet."""
    fleet = [LinkDoubt(clock) for _ in range(200)]
    for device in fleet:
        device.came()
    acted = []
    for clock.now in range(int(SPREAD_SECONDS) + 1):
        acted.append(len([device for device in fleet if device.unanswered()]))
    assert sum(acted) == 200 and max(acted) < 60


def test_a_link_that_worked_may_fail_once(doubt: LinkDoubt) -> None:
    doubt.acknowledged()
    assert [doubt.unanswered(), doubt.unanswered()] == [None, Step.DIAL]
    doubt.acknowledged()
    assert [doubt.unanswered(), doubt.unanswered()] == [None, Step.DIAL], "it worked in between"


def test_what_does_not_help_is_not_repeated_in_haste(clock: Clock) -> None:
    doubt, pauses = LinkDoubt(clock), []
    doubt.came()
    clock.now += SPREAD_SECONDS
    for _ in range(12):
        began = clock.now
        until_step(doubt, clock)
        pauses.append(clock.now - began)
    assert pauses[0] == 0 and FIRST_SECONDS / 2 <= pauses[1] <= FIRST_SECONDS + LATER
    assert all(pause <= CAP_SECONDS + LATER for pause in pauses) and pauses[-1] >= CAP_SECONDS / 2


def test_it_climbs_to_a_restart_and_no_more_than_one_a_day(doubt: LinkDoubt, clock: Clock) -> None:
    steps = [until_step(doubt, clock) for _ in LADDER]
    assert tuple(steps) == LADDER and Step.RESTART not in steps
    assert until_step(doubt, clock) is Step.RESTART and clock.now >= 15 * 60
    restarted = clock.now
    while until_step(doubt, clock) is Step.DIAL:
        pass
    assert RESTART_SECONDS <= clock.now - restarted <= RESTART_SECONDS + CAP_SECONDS + LATER


def test_one_answer_makes_it_begin_below_again_and_forgets_no_restart(doubt: LinkDoubt, clock: Clock) -> None:
    for _ in (*LADDER, Step.RESTART):
        until_step(doubt, clock)
    doubt.acknowledged()
    assert [until_step(doubt, clock) for _ in (*LADDER, Step.RESTART)] == [*LADDER, Step.DIAL]


def test_a_leaf_that_says_nothing_for_long_is_restarted(doubt: LinkDoubt, clock: Clock) -> None:
    asked = 0
    while doubt.silent() is None:
        clock.now += 20
        asked += 1
    assert clock.now >= SILENT_SECONDS and asked >= SILENT_QUESTIONS - 1
    restarted = clock.now
    while doubt.silent() is None:
        clock.now += 20
    assert clock.now - restarted >= SILENT_PAUSE_SECONDS


@pytest.mark.parametrize("answer", ["unlinked", "unanswered", "acknowledged"])
def test_one_that_answers_in_between_hangs_not(doubt: LinkDoubt, clock: Clock, answer: str) -> None:
    for _ in range(10):
        assert doubt.silent() is None
        clock.now += SILENT_SECONDS * 0.9
        assert doubt.silent() is None
        getattr(doubt, answer)()
