"""Rules of alerts: what may be written, what is said of the rest, and where each may stand."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgeagent import alertsettings, config, settings
from edgeagent.alertrules import MAX_RULE, Condition, Rule, parse
from edgeagent.errors import SettingsProblem
from edgeagent.fleet import configchange, configtext


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("hw.temperature > 80", Rule(metric="hw.temperature", raised=Condition(">", 80.0))),
        ("  a<=-1.5e3  ", Rule(metric="a", raised=Condition("<=", -1500.0))),
        ("a > 80 for 2m", Rule(metric="a", raised=Condition(">", 80.0), for_seconds=120)),
        ("a > 80 clear < 75", Rule(metric="a", raised=Condition(">", 80.0), cleared=Condition("<", 75.0))),
        ("a > 80 clear for 5m", Rule(metric="a", raised=Condition(">", 80.0), clear_seconds=300)),
        (
            "a > 80 for 1h clear <= 80 for 1d severity critical",
            Rule(
                metric="a",
                raised=Condition(">", 80.0),
                for_seconds=3600,
                cleared=Condition("<=", 80.0),
                clear_seconds=86400,
                severity="critical",
            ),
        ),
        ('a{b="c \\"d\\"",e="}"} == 1', Rule(metric="a", raised=Condition("==", 1.0), attributes={"b": 'c "d"', "e": "}"})),
        ("a{} != 1", Rule(metric="a", raised=Condition("!=", 1.0))),
    ],
    ids=["plain", "narrow", "for", "clear", "clear-for", "all", "attributes", "no-attributes"],
)
def test_what_a_rule_says(text: str, wanted: Rule) -> None:
    assert parse(text) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("> 80", "the name of a metric must stand in place of >"),
        ("a", "one of > >= < <= == != must stand at its end"),
        ("a = 80", "one of > >= < <= == != must stand in place of ="),
        ("a > hot", "a number after > must stand in place of hot"),
        ("a > 80 for", "a time such as 90s, 2m or 1h, at most 30d, must stand at its end"),
        ("a > 80 for 2 m", "must stand in place of 2"),
        ("a > 80 for 31d", "must stand in place of 31d"),
        ("a > 80 clear 75", "must stand in place of 75"),
        ("a > 80 clear < 90", "> 80 and < 90 can hold at once"),
        ("a >= 80 clear <= 80", "can hold at once"),
        ("a != 1 clear > 1", "can hold at once"),
        ("a > 80 severity loud", "one of info, warning, error, critical must stand in place of loud"),
        ("a > 80 clear < 75 for 2m for 3m", "for makes no sense there"),
        ("a > 80 and b > 3", "and makes no sense there"),
        ("a{b=c} > 80", 'a value in "quotes" must stand in place of c'),
        ('a{b="c" > 80', "a comma or } must stand in place of >"),
        ("a > 80 %", "it makes no sense from '%' on"),
        (f"a > {'8' * MAX_RULE}", "at most 500 characters"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text)
    assert words in str(caught.value)


def test_it_fits_samples_that_have_its_attributes_and_may_have_more() -> None:
    rule = parse('a{b="c"} > 1')
    assert rule.fits("a", {"b": "c", "d": "e"})
    assert not any([rule.fits("a", {}), rule.fits("a", {"b": "x"}), rule.fits("x", {"b": "c"})])


def test_without_a_level_it_is_clear_as_soon_as_it_does_not_hold() -> None:
    assert [parse("a > 1").is_clear(value) for value in (1, 2)] == [True, False]
    assert [parse("a > 3 clear < 2").is_clear(value) for value in (1, 2, 4)] == [True, False, False]


def test_agent_toml_has_rules_and_says_what_is_wrong_with_them(tmp_path: Path) -> None:
    good = settings.parse('[alert]\nhot = "a > 1"\noff = ""\n', tmp_path / "agent.toml")
    assert good.alert == {"hot": "a > 1", "off": ""}
    with pytest.raises(SettingsProblem) as caught:
        settings.parse('[alert]\nhot = "a >"\nHot = "a > 1"\ncold = 3\n', tmp_path / "agent.toml")
    assert sorted(caught.value.problems) == [
        "alert.Hot: it must be 1 to 63 of a-z, 0-9, '_' and '-', beginning with a letter",
        "alert.cold = 3: it must be text",
    ]
    with pytest.raises(SettingsProblem, match=r"alert\.hot = 'a >': a number after > must stand at its end"):
        settings.parse('[alert]\nhot = "a >"\n', tmp_path / "agent.toml")


def test_configuration_is_checked_before_it_is_signed() -> None:
    values = configtext.assignments(["alert.hot=hw.temperature > 80 for 2m", "alert.x=a > 1 for ever"])
    with pytest.raises(SettingsProblem) as caught:
        configchange.check(config.nested(values), "set them")
    assert caught.value.problems == [
        "alert.x = 'a > 1 for ever': a time such as 90s, 2m or 1h, at most 30d, must stand in place of ever"
    ]
    assert config.invalid({"alert": 5}) == ["alert: it is a section, so it must be a table: set alert.NAME"]


def test_layers_of_rules_go_before_each_other_by_name() -> None:
    own = settings.Settings(alert={"hot": "a > 1", "full": "b > 1"})
    fleet = config.Layer("fleet.all", {"alert": {"hot": "a > 2"}})
    values = config.merged([config.defaults(), config.of_settings(own), fleet])
    assert config.with_config(own, values).alert == {"hot": "a > 2", "full": "b > 1"}
    assert config.is_known("alert.hot") and config.KEYS["alert"].live


def test_so_many_are_enough() -> None:
    many = {f"a{number}": "a > 1" for number in range(alertsettings.MAX_ALERTS + 1)}
    assert config.invalid({"alert": many}) == [f"alert = {str(many)[:57]}...: it may have at most 64 entries"]
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(many, alertsettings.AlertSettings)
