"""Commands as people type and read them: arguments, durations, and the lines of an output that comes in pieces."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.errors import UsageProblem
from edgeagent.fleet.commandorder import action_of
from edgeagent.fleet.commandtext import Tail, arguments_of, described, seconds_of


@pytest.mark.parametrize(
    ("action", "words", "args"),
    [
        ("logs", ["unit=nginx", "lines=50"], {"unit": "nginx", "lines": 50}),
        ("logs", ["unit=7"], {"unit": "7"}),
        ("logs", ["unit=true", "follow=true"], {"unit": "true", "follow": True}),
        (
            "exec",
            ['argv=["/usr/bin/uptime", "-p"]', "timeout_seconds=5"],
            {"argv": ["/usr/bin/uptime", "-p"], "timeout_seconds": 5},
        ),
        ("logs", ["lines=many", "x=1=2"], {"lines": "many", "x": "1=2"}),
        ("app.doors.open", ["door=3", "who=olga"], {"door": 3, "who": "olga"}),
        ("ping", [], {}),
    ],
)
def test_words_become_arguments_of_the_declared_types(action: str, words: list[str], args: dict[str, Any]) -> None:
    assert arguments_of(action_of(action), words) == args


@pytest.mark.parametrize(
    ("words", "said"), [(["nginx"], "no key=value"), (["=x"], "no key=value"), (["a=1", "a=2"], "there twice")]
)
def test_words_that_are_none(words: list[str], said: str) -> None:
    with pytest.raises(UsageProblem, match=said):
        arguments_of(action_of("logs"), words)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("10m", 600), ("1h", 3600), ("7d", 604_800), ("1h30m", 5400), ("1d12h", 129_600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "7w", "-1h", "1.5h", "0s", "1h 5m", "5m1h", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageProblem, match="it is no time"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"name": 5}, "name=5"),
        ({"name": "5"}, 'name="5"'),
        ({"unit": "nginx", "follow": True}, "unit=nginx follow=true"),
        ({"text": "a b"}, 'text="a b"'),
        ({"text": "true"}, 'text="true"'),
        ({"text": ""}, 'text=""'),
        ({"argv": ["x", "-p"]}, 'argv=["x", "-p"]'),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arguments_read_as_what_they_are(args: dict[str, Any], words: str) -> None:
    assert described("plugin.greet", args) == f"plugin.greet {words}"
    typed = [described("", {key: value}).strip() for key, value in args.items()]
    assert arguments_of(action_of("plugin.greet"), typed) == args


def test_each_line_is_shown_once_however_it_comes() -> None:
    tail = Tail()
    assert tail.take("", 0, ended=False) == []
    assert tail.take("one\ntw", 6, ended=False) == ["one"]
    assert tail.take("one\ntwo\nthr", 11, ended=False) == ["two"]
    assert tail.take("one\ntwo\nthr", 11, ended=False) == []
    assert tail.take("one\ntwo\nthree", 13, ended=True) == ["three"]
    assert tail.take("one\ntwo\nthree", 13, ended=True) == []


def test_of_a_long_output_only_the_end_is_kept_and_what_is_lost_is_counted() -> None:
    tail = Tail()
    assert tail.take("a\nb\n", 4, ended=False) == ["a", "b"]
    assert tail.take("b\nc\n", 6, ended=False) == ["c"], "the beginning is gone, but was shown"
    assert tail.take("y\nz\n", 1006, ended=False) == ["(996 bytes are not shown)", "y", "z"]
    assert tail.take("z\n\nend", 1010, ended=True) == ["", "end"]


def test_a_letter_of_several_bytes_is_counted_as_such() -> None:
    tail = Tail()
    assert tail.take("grün\nü", 8, ended=False) == ["grün"]
    assert tail.take("grün\nüber\r\n", 13, ended=True) == ["über"]


@pytest.mark.parametrize("total", [0, -5, 3], ids=str)
def test_a_device_that_counts_wrongly_breaks_nothing(total: int) -> None:
    tail = Tail()
    tail.take("one\ntwo\n", total, ended=False)
    assert tail.take("one\ntwo\nthree\n", total, ended=True) in ([], ["three"])
