"""Configuration as people write it: words of a command line, TOML and JSON, and nothing that plays tricks with a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.errors import UsageProblem
from edgeagent.fleet.configtext import assignments, format_name, format_toml, format_value, parse_json, parse_toml


@pytest.mark.parametrize(
    ("word", "value"),
    [
        # Keys of ours that are text take the text; but quotes that nobody means are TOML's.
        ("agent.log_level=debug", "debug"),
        ('agent.log_level="debug"', "debug"),
        ("device.labels.site=5", "5"),
        ("device.labels.site=true", "true"),
        ("device.labels={site = 'x'}", {"site": "x"}),
        ("agent.micro=false", False),
        ("agent.heartbeat_seconds=30", 30),
        ("agent.heartbeat_seconds=2.5", 2.5),
        # What does not fit is left for the check to say.
        ("agent.micro=nope", "nope"),
        ("agent.heartbeat_seconds=0", 0),
        # A program's own: TOML if it is any, but dates and what JSON has not are text.
        ("app.doors.open=07:00", "07:00"),
        ("app.doors.open=07:00:00", "07:00:00"),
        ("app.doors.from=2026-11-21", "2026-11-21"),
        ("app.doors.x=nan", "nan"),
        ("app.doors.x=12", 12),
        ("app.doors.x='12'", "12"),
        ("app.doors.x=[1, 'a']", [1, "a"]),
        ("app.doors.x={a = 1}", {"a": 1}),
        ("app.doors.x=", ""),
        ("app.doors.x=a=b", "a=b"),
        ("app.doors.x= blue ", "blue"),
        ("app.doors.x=99999999999999999999", "99999999999999999999"),
        # Nothing is dropped on the way, and no second key comes along.
        ("app.doors.x=5 # five", "5 # five"),
        ("app.doors.x=5,", "5,"),
        ("app.doors.x=1\ny = 2", "1\ny = 2"),
    ],
)
def test_a_word_is_a_value(word: str, value: Any) -> None:
    (found,) = assignments([word]).values()
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("words", [["agent.micro"], ["=5"], ["app.a.b=1", "app.a.b=2"], [""]])
def test_what_is_no_assignment(words: list[str]) -> None:
    with pytest.raises(UsageProblem):
        assignments(words)


VALUES = {
    "agent": {"micro": True, "heartbeat_seconds": 2.5},
    "app": {"doors": {"text": 'a"b\\\n\tü\u202e\x9b\x7f\u2028', "list": [1, [2], {"a": "b"}], "deep": {"n": -1}}},
}


def test_what_is_written_as_toml_reads_back_as_the_same() -> None:
    assert parse_toml(format_toml(VALUES), "read it") == VALUES
    for value in (VALUES["app"]["doors"]["list"], VALUES["app"]["doors"], "x\u202e", 7, 1.5, True, {}):
        assert parse_toml(f"x = {format_value(value)}", "read it") == {"x": value}
        assert "\n" not in format_value(value)


def test_no_character_reaches_a_terminal_that_does_more_than_show() -> None:
    text = format_toml(VALUES) + format_value(VALUES["app"])
    assert not set(text) & set("\u202e\x9b\x7f\u2028\t\x1b")


FORGED_KEY = 'k = 1 } ]\nrevision 99 (olga, 2026-01-01 00:00:00)\n  agent.log_level "debug" -> "info"\n'


def test_a_key_cannot_forge_a_line() -> None:
    for value in ({FORGED_KEY: 1}, [{FORGED_KEY: {"\x9b": 2, "plain-key": 3, "": 4}}]):
        text = format_value(value)
        assert "\n" not in text and "\x9b" not in text and parse_toml(f"x = {text}", "read it") == {"x": value}
    assert format_name("app.doors.open") == "app.doors.open"
    assert format_name(f"app.{FORGED_KEY}").startswith('"app.k = 1 } ]\\n') and format_name("a b") == '"a b"'


def test_what_is_no_document_says_where() -> None:
    with pytest.raises(UsageProblem, match=r"cannot apply x: it is not valid TOML: .*line 2"):
        parse_toml("a = 1\nb = x\nc = 1\n", "apply x")
    with pytest.raises(UsageProblem, match="not valid JSON"):
        parse_json("{", "apply x")
    with pytest.raises(UsageProblem, match="object of sections"):
        parse_json("[1]", "apply x")
    with pytest.raises(UsageProblem, match="not valid JSON"):
        parse_json("[" * 100_000, "apply x")
    assert parse_json('{"app": {"a": {"b": 1}}}', "apply x") == {"app": {"a": {"b": 1}}}
