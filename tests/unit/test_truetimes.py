"""What the true time of a stored message is, whatever the clock did before, meanwhile and after."""

from __future__ import annotations

import pytest

from edgeagent.patterns.truetimes import MAX_BOOTS, MAX_STRETCHES, Stretch, TrueTimes, began, learned, stepped

SECOND, DAY = 1_000_000_000, 86_400_000_000_000
#: The true time at which each boot began, and how far the clock was behind at first, in nanoseconds.
TRUTH, BEHIND = 1_800_000_000 * SECOND, 30 * DAY
S = "LOCAL_METRIC"

#: One boot: the clock is 30 days behind for 1,000 s and 1,000 messages, and then right.
WRONG = Stretch("boot", 0, TRUTH - BEHIND, {S: 1})
RIGHT = Stretch("boot", 1000 * SECOND, TRUTH, {S: 1001})
KNOWN = TrueTimes([WRONG, RIGHT], {"boot": TRUTH})


def stamp(boot_seconds: float, ahead: int) -> int:
    return ahead + round(boot_seconds * SECOND)


def true_ms(boot_seconds: float) -> int:
    return (TRUTH + round(boot_seconds * SECOND)) // 1_000_000


@pytest.mark.parametrize(
    ("sequence", "at", "ahead"), [(1, 1.0, WRONG.ahead), (1000, 999.0, WRONG.ahead), (1001, 1000.5, TRUTH), (5000, 9000.0, TRUTH)]
)
def test_a_message(sequence: int, at: float, ahead: int) -> None:
    assert KNOWN.of_message(S, sequence, stamp(at, ahead)) == (true_ms(at), False)


def test_an_unknown_time_is_what_the_clock_said_and_estimated() -> None:
    unknown = TrueTimes([WRONG])
    assert unknown.of_message(S, 5, stamp(5, WRONG.ahead)) == (stamp(5, WRONG.ahead) // 1_000_000, True)
    assert unknown.of_sample(S, 5, stamp(5, WRONG.ahead), 3.5) == (3500, False), "no time of this device's clock"
    assert unknown.of_sample(S, 5, stamp(5, WRONG.ahead), stamp(4, WRONG.ahead) / SECOND)[1]
    assert TrueTimes().of_message(S, 5, 7_000_000) == (7, True)
    assert TrueTimes().of_sample(S, 5, 7_000_000, 2.0) == (2000, True)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        pytest.param(0.0, true_ms(500), id="none"),
        pytest.param(stamp(490, WRONG.ahead) / SECOND, true_ms(490), id="of the same wrong clock"),
        pytest.param(stamp(490, TRUTH) / SECOND, true_ms(490), id="of a better clock"),
        pytest.param(stamp(-7200, WRONG.ahead) / SECOND, stamp(-7200, WRONG.ahead) // 1_000_000, id="of before the boot"),
        pytest.param(12.0, 12_000, id="of long ago"),
    ],
)
def test_a_samples_own_time(own: float, expected: int) -> None:
    assert KNOWN.of_sample(S, 500, stamp(500, WRONG.ahead), own) == (expected, False)


def test_a_sample_measured_before_the_step_and_stored_after_it() -> None:
    stored = stamp(1003, TRUTH)
    assert KNOWN.of_sample(S, 1001, stored, stamp(995, WRONG.ahead) / SECOND) == (true_ms(995), False)
    assert KNOWN.of_sample(S, 1001, stored, stamp(1002, TRUTH) / SECOND) == (true_ms(1002), False)


def test_the_error_of_the_hubs_word_is_not_corrected_into_good_times() -> None:
    nearly = learned(TrueTimes([RIGHT]), "boot", TRUTH + SECOND // 2)
    assert nearly.of_message(S, 1001, stamp(1001, TRUTH)) == (true_ms(1001), False)


def test_each_boot_has_its_own_truth() -> None:
    later = stepped(KNOWN, Stretch("later", 0, TRUTH - 7 * DAY))
    assert not later.is_known(S, 2000), "where the boot's messages begin is not known yet"
    later = began(later, S, 2001)
    assert later.of_message(S, 500, stamp(500, WRONG.ahead)) == (true_ms(500), False)
    assert later.of_message(S, 2001, stamp(5, TRUTH - 7 * DAY))[1], "of this boot the time is not known yet"
    assert later.is_known(S, 500) and not later.is_known(S, 2001)
    later = learned(later, "later", TRUTH)
    assert later.is_known(S, 2001) and later.of_message(S, 2001, stamp(5, TRUTH - 7 * DAY)) == (true_ms(5), False)


def test_a_boot_whose_clock_never_became_right_stays_estimated() -> None:
    later = learned(TrueTimes([Stretch("first", 0, 5, {S: 1}), Stretch("later", 0, TRUTH, {S: 10})]), "later", TRUTH)
    assert later.is_known(S, 9) and later.of_message(S, 9, 3_000_000) == (3, True)


def test_only_the_newest_are_kept() -> None:
    known = TrueTimes()
    for number in range(MAX_STRETCHES * 2):
        known = learned(began(stepped(known, Stretch(f"b{number}", 0, TRUTH)), S, number + 1), f"b{number}", TRUTH)
    assert len(known.stretches) == MAX_BOOTS and len(known.truths) == MAX_BOOTS
    assert known.of_message(S, 1, 5_000_000) == (5, True)
    for number in range(MAX_STRETCHES * 2):
        known = stepped(known, Stretch("one", number, TRUTH))
    assert len(known.stretches) == MAX_STRETCHES
