"""Configuration as people write it: words of a command line, TOML and JSON, and nothing that plays tricks with a terminal."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from edgeagent.errors import UsageProblem
from edgeagent.fleet.configtext import assignments, format_name, format_toml, format_value, parse_json, parse_toml
from edgeagent.fleet.configversion import Version
from edgeagent.subjects import FLEET_ALL


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


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("app.x.y=[1,2", "begins like a list, but is no list of TOML. Mend it; if it is meant as text, put it into quotes: "),
        ("app.x.y={ a = 1", "begins like a table"),
        ("app.x.y=[1] # one", "begins like a list"),
        ("app.x.y=[%H] it's %m", "begins like a list"),
    ],
    ids=["list", "table", "comment", "format"],
)
def test_a_mistyped_list_or_table_is_no_text_unless_it_is_quoted(word: str, said: str) -> None:
    with pytest.raises(UsageProblem, match="is no") as caught:
        assignments([word])
    assert said in str(caught.value)
    (again,) = shlex.split(caught.value.remedy.partition("quotes: ")[2])
    assert assignments([again]) == {"app.x.y": word.partition("=")[2]}, "what it says to type gives that text"


def test_a_label_may_begin_like_a_list() -> None:
    assert assignments(["device.labels.site=[1,2"]) == {"device.labels.site": "[1,2"}, "labels are text anyway"


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


def test_a_document_as_it_is_shown_is_one_to_apply() -> None:
    shown = Version(scope=FLEET_ALL, revision=7, by="olga", note="n", values=VALUES)
    assert parse_json(json.dumps(shown.as_dict()), "apply x") == VALUES
    for wrong in (Version(scope=FLEET_ALL, revision=7, problem="nobody signed it").as_dict(), {**shown.as_dict(), "values": [1]}):
        with pytest.raises(UsageProblem, match=r"makes no sense \((nobody signed it|its values are no table)\)"):
            parse_json(json.dumps(wrong), "apply x")
    other = {"scope": {"x": 1}, "app": {}, "values": {}}
    assert parse_json(json.dumps(other), "apply x") == other, "left for the check to say what there is not"
