"""When an alert is raised and cleared, by a clock of the test's own."""

from __future__ import annotations

from edgeagent.patterns.alertwatch import FLAPS, FLAPS_SECONDS, FORGOTTEN_SECONDS, MAX_SERIES, QUIET_SECONDS, Standing, Watch
from edgeagent.sample import Sample


class Clocked:
    """Watches by one rule, ``t``; each value comes ``step`` seconds after the one before."""

    def __init__(self, rule: str, standing: list[Standing] | None = None, step: float = 30.0) -> None:
        self.watch, self.now, self.step = Watch(standing or [], {"agent"}), 1000.0, step
        self.at_first = self.watch.set_rules({"t": rule}, 5.0)

    def take(self, *values: float, source: str = "agent", **attributes: str) -> str:
        """For each value ``R`` (raised), ``c`` (cleared) or ``.`` (nothing)."""
        said = ""
        for value in values:
            changes = self.watch.take(source, [Sample("a", value, attributes)], self.now, self.now)
            said += "".join("R" if change.now.raised else "c" for change in changes) or "."
            self.now += self.step
        return said


def test_without_a_time_it_is_raised_and_cleared_at_once() -> None:
    assert Clocked("a > 1").take(1, 2, 3, 1, 0, 2) == ".R.c.R"


def test_it_has_to_hold_for_the_whole_time() -> None:
    assert Clocked("a > 1 for 1m").take(2, 2, 1, 2, 2, 2, 2) == ".....R."


def test_between_its_level_and_that_of_clearing_nothing_changes() -> None:
    assert Clocked("a > 80 clear < 75").take(81, 79, 76, 81, 75, 74, 76, 81) == "R....c.R"


def test_clear_has_to_hold_too() -> None:
    assert Clocked("a > 80 clear < 75 for 1m").take(81, 74, 74, 75, 74, 74, 74) == "R.....c"
    assert Clocked("a > 80 clear for 1m").take(81, 74, 74, 81, 80, 80, 80) == "R.....c"


def test_series_are_watched_on_their_own() -> None:
    clocked = Clocked('a{x="1"} > 1')
    assert clocked.take(2, x="1", y="a") == "R" and clocked.take(2, x="1", y="b") == "R"
    assert clocked.take(2, x="1", y="a") == "." and clocked.take(2, x="1", y="a", source="shop") == "R"
    assert clocked.take(2, x="2") == "." and clocked.take(1, x="1", y="b") == "c"
    assert [sorted(each.attributes.items()) for each in clocked.watch.raised.values()] == [[("x", "1"), ("y", "a")]] * 2


def test_what_was_raised_before_a_restart_is_not_raised_again() -> None:
    before = Clocked("a > 1")
    assert before.take(2) == "R"
    after = Clocked("a > 1", list(before.watch.raised.values()))
    assert after.at_first == [] and after.take(2, 2, 1) == "..c"


def test_what_a_changed_rule_had_raised_is_cleared_and_judged_anew() -> None:
    clocked = Clocked("a > 1")
    assert clocked.take(2) == "R"
    assert clocked.watch.set_rules({"t": "a > 1"}, 6.0) == []
    (change,) = clocked.watch.set_rules({"t": "a > 1.5"}, 7.0)
    assert not change.now.raised and change.now.why == "its rule was changed" and change.now.since == 7.0
    assert clocked.take(2) == "R"
    (change,) = clocked.watch.set_rules({"t": " "}, 8.0)
    assert change.now.why == "its rule is gone" and clocked.watch.is_idle and clocked.take(2) == "."


def test_what_flaps_is_slow_to_be_cleared_until_it_has_been_quiet() -> None:
    clocked = Clocked("a > 1", step=1)
    assert clocked.take(*[2, 1] * FLAPS) == "Rc" * (FLAPS - 1) + "R."
    clocked.step = QUIET_SECONDS / 2
    assert clocked.take(2, 1, 1) == "...", "what clears it has to hold anew"
    assert clocked.take(1) == "c"
    clocked.now += FLAPS_SECONDS
    clocked.step = 1
    assert clocked.take(2, 1, 2, 1) == "RcRc", "an hour later it is as before"


def test_a_flood_of_attributes_does_not_fill_the_memory() -> None:
    clocked = Clocked("a > 1")
    for number in range(MAX_SERIES + 50):
        clocked.take(2, x=str(number))
    assert len(clocked.watch.raised) == MAX_SERIES


def test_who_has_no_samples_any_more_gives_its_place_to_others() -> None:
    clocked = Clocked("a > 1 for 1m", step=0)
    for number in range(MAX_SERIES):
        clocked.take(2, x=str(number))
    clocked.step = 60
    assert clocked.take(2, 2, x="new") == "..", "there is no room"
    assert clocked.take(2, x="0") == "R" and clocked.take(2, x="1") == "R"
    clocked.now += FORGOTTEN_SECONDS - 300
    assert clocked.take(2, x="0") == "." and clocked.take(2, 2, x="new") == ".R", "those that were pending have gone"
    clocked.step = 0
    clocked.now += 300
    for number in range(MAX_SERIES - 3):
        clocked.take(2, x=f"new{number}")
    (change,) = clocked.watch.take("agent", [Sample("a", 2, {"x": "last"})], clocked.now, 7.0)
    assert (change.now.attributes, change.now.raised, change.now.since) == ({"x": "1"}, False, 7.0)
    assert change.now.why == "it has had no sample for an hour" and clocked.take(1, x="0") == "c", "that one stood"


def test_what_was_raised_before_a_restart_keeps_its_place_for_an_hour() -> None:
    raised = [Standing(alert="t", rule="a > 1", source="agent", metric="a", attributes={"x": str(n)}) for n in range(MAX_SERIES)]
    clocked = Clocked("a > 1", raised, step=FORGOTTEN_SECONDS)
    assert clocked.take(2, x="new") == "." and clocked.watch.full == {"t"}
    assert clocked.take(2, x="new") == "c" * MAX_SERIES + "R"


def test_what_is_well_costs_no_memory() -> None:
    clocked = Clocked("a > 1 for 1m")
    clocked.take(2, 1, x="1")
    clocked.take(1, x="2")
    assert clocked.watch._series == {}
