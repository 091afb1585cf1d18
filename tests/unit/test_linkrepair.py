"""When a link that looks up is doubted enough to be ended."""

import pytest

from edgeagent.assembly.linkrepair import CAP_SECONDS, FIRST_SECONDS, LinkDoubt


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def doubt(clock: Clock) -> LinkDoubt:
    doubt = LinkDoubt(clock)
    doubt.came()
    return doubt


def test_a_link_that_never_worked_is_ended_at_once(doubt: LinkDoubt) -> None:
    assert doubt.failed()


def test_a_link_that_worked_may_fail_once(doubt: LinkDoubt) -> None:
    doubt.acknowledged()
    assert [doubt.failed(), doubt.failed()] == [False, True]
    doubt.acknowledged()
    assert [doubt.failed(), doubt.failed()] == [False, True], "it worked in between"


def test_dialling_again_that_does_not_help_is_not_repeated_in_haste(doubt: LinkDoubt, clock: Clock) -> None:
    pauses = []
    for _ in range(12):
        began = clock.now
        while not doubt.failed():
            clock.now += 1
            doubt.came()
        pauses.append(clock.now - began)
    assert pauses[0] == 0 and FIRST_SECONDS / 2 <= pauses[1] <= FIRST_SECONDS + 1
    assert all(pause <= CAP_SECONDS + 1 for pause in pauses) and pauses[-1] >= CAP_SECONDS / 2
