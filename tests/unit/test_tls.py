from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from edgeagent.hub.tls import (
    SPREAD,
    START,
    Authority,
    Issued,
    State,
    authority_due,
    covers,
    current,
    next_authority,
    server_due,
    server_ends,
    signer,
    signing_since,
)

NOW = datetime(2030, 6, 1, tzinfo=timezone.utc)
DAY, YEAR = timedelta(days=1), timedelta(days=365)


def made(*whens: datetime, at_once: bool = False) -> list[Authority]:
    """The authorities that were made at these moments."""
    found: list[Authority] = []
    for when in whens:
        found.append(next_authority(found, when, at_once=at_once))
    return found


def numbers(found: list[Authority]) -> list[int]:
    return [one.number for one in found]


def test_the_first_authority_signs_at_once_even_if_the_clock_goes_back() -> None:
    found = made(NOW)
    for moment in (NOW, NOW - 10 * YEAR + DAY, START):
        assert signer(found, moment) == found[0]


def test_a_new_authority_is_handed_out_for_a_month_before_it_signs() -> None:
    found = made(NOW, NOW + YEAR)
    assert numbers(current(State(authorities=tuple(found)), NOW + YEAR)) == [1, 2]
    assert [signer(found, NOW + YEAR + wait) for wait in (timedelta(), SPREAD - DAY, SPREAD)] == [found[0], found[0], found[1]]


def served(found: list[Authority], authority: int, when: datetime, before: State | None = None) -> State:
    """The state after ``authority`` signed the server's certificate."""
    since = signing_since(before.server if before else None, authority, when)
    issued = Issued(authority=authority, made=when, ends=when + YEAR, names=NAMES, since=since)
    return State(authorities=tuple(found), server=issued)


def test_the_old_one_is_handed_out_for_a_month_more_and_no_longer() -> None:
    found, begins = made(NOW, NOW + YEAR), NOW + YEAR + SPREAD
    first = served(found, 2, begins)
    assert numbers(current(first, begins + SPREAD - DAY)) == [1, 2]
    assert numbers(current(first, begins + SPREAD)) == [2]
    renewed = served(found, 2, begins + 200 * DAY, first)
    assert numbers(current(renewed, begins + 200 * DAY)) == [2], "what was retired does not come back with a renewal"


@pytest.mark.parametrize("jump", [2 * SPREAD + DAY, 2 * YEAR, 19.5 * YEAR, 25 * YEAR, 100 * YEAR])
def test_a_clock_that_was_wrong_for_an_hour_locks_nobody_out(jump: timedelta) -> None:
    """What a device was told then has the authority that signs afterwards, and every other one has the one that signs then."""
    found, right = made(NOW), NOW + YEAR
    if jump < 19 * YEAR:  # an authority is being exchanged
        found.append(next_authority(found, right))
    before = served(found, 1, NOW)
    wrong = right + jump
    if authority_due(found, wrong):
        found.append(next_authority(found, wrong))
    assert not authority_due(found, wrong) and not authority_due(found, wrong + DAY)
    signing = signer(found, wrong)
    assert signing is not None
    then = served(found, signing.number, wrong, before)
    assert 1 in numbers(current(then, wrong)), "devices that listen in that hour do not forget it"
    back = signer(found, right)
    assert back is not None and back.number == 1
    assert 1 in numbers(current(then, right)) and 1 in numbers(current(served(found, 1, right, then), right))


def test_one_that_is_needed_now_signs_now() -> None:
    found = made(NOW, NOW + DAY, at_once=True)
    assert signer(found, NOW + DAY) == found[1]


def test_without_a_valid_authority_the_next_one_signs_at_once() -> None:
    old = made(NOW)
    later = old[0].ends + DAY
    assert signer(old, later) is None and current(State(authorities=tuple(old)), later) == [] and authority_due(old, later)
    assert signer([*old, next_authority(old, later)], later) == next_authority(old, later)


@pytest.mark.parametrize(("years", "due"), [(0, False), (18.9, False), (19.1, True), (21, True)])
def test_the_next_authority_comes_in_the_last_year(years: float, due: bool) -> None:
    assert authority_due(made(NOW), NOW + years * YEAR) is due


def test_no_second_one_is_due_once_it_was_made() -> None:
    assert authority_due([], NOW)
    assert not authority_due(made(NOW, NOW + 19.5 * YEAR), NOW + 19.6 * YEAR)


def test_a_certificate_never_outlives_its_authority() -> None:
    (authority,) = made(NOW)
    assert server_ends(authority, NOW) == NOW + YEAR
    assert server_ends(authority, authority.ends - DAY) == authority.ends


NAMES = ("localhost", "hub.example")


def state(**more: object) -> State:
    issued = {"authority": 1, "made": NOW, "ends": NOW + YEAR, "names": NAMES, **more}
    return State(authorities=tuple(made(NOW)), server=Issued(**issued))  # type: ignore[arg-type]  # each case has the right types


@pytest.mark.parametrize(
    ("found", "after", "why"),
    [
        (State(authorities=tuple(made(NOW))), 0, "there is none"),
        (state(), 0, ""),
        (state(), 243, ""),
        (state(), 244, "less than a third of its time is left"),
        (state(), 400, "less than a third of its time is left"),
        (state(authority=2), 0, "another authority signs now"),
        (state(names=("localhost",)), 0, "the hub's names changed"),
        (state(names=("an.old.one", *NAMES)), 0, ""),
    ],
)
def test_when_a_certificate_is_made_anew(found: State, after: int, why: str) -> None:
    assert server_due(found, NAMES, NOW + after * DAY) == why


def test_a_third_counts_from_when_it_was_made_and_not_from_2020() -> None:
    assert server_due(state(made=START), NAMES, NOW) != "" and server_due(state(), NAMES, NOW) == ""


@pytest.mark.parametrize(
    ("names", "host", "good"),
    [
        (["hub.example"], "HUB.example.", True),
        (["hub.example"], "example", False),
        (["*.example.org"], "hub.example.org", True),
        (["*.example.org"], "a.hub.example.org", False),
        (["*.example.org"], "example.org", False),
        (["10.0.0.1"], "10.0.0.1", True),
        (["*.0.0.1"], "10.0.0.1", False),
        (["fd00::1"], "fd00:0:0::1", True),
        ([], "hub", False),
    ],
)
def test_for_whom_a_certificate_is_good(names: list[str], host: str, good: bool) -> None:
    assert covers(names, host) is good
