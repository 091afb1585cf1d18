from __future__ import annotations

import pytest

from edgeagent import errors
from edgeagent.errors import EdgeError, Failed, SettingsProblem, UsageProblem, as_sentence

ALL = [each for name in errors.__all__ if isinstance(each := getattr(errors, name), type)]


def test_a_message_says_what_why_and_what_to_do() -> None:
    error = Failed("read pi-01.creds", "there is no such file", "ask whoever runs the hub")
    assert str(error) == "cannot read pi-01.creds: there is no such file. Ask whoever runs the hub"
    assert (error.what, error.why, error.remedy) == ("read pi-01.creds", "there is no such file", "ask whoever runs the hub")


def test_without_a_remedy_the_sentence_ends() -> None:
    assert str(Failed("read it", "it is empty")) == "cannot read it: it is empty"


def test_settings_problems_are_listed_and_kept() -> None:
    error = SettingsProblem("use the settings", ["a: wrong", "b: wrong too"], "mend them")
    assert str(error) == "cannot use the settings:\n  - a: wrong\n  - b: wrong too\nMend them"
    assert error.problems == ["a: wrong", "b: wrong too"]
    assert (error.why, error.exit_code, error.code) == ("a: wrong; b: wrong too", 2, "settings")


def test_codes_are_stable_and_tell_the_classes_apart() -> None:
    codes = {kind.__name__: kind.code for kind in ALL}
    assert codes == {
        "EdgeError": "error",
        "UsageProblem": "usage",
        "SettingsProblem": "settings",
        "Refused": "refused",
        "Failed": "failed",
        "Unreachable": "unreachable",
        "Closed": "closed",
        "Incomplete": "incomplete",
        "StoreFull": "store_full",
    }


@pytest.mark.parametrize(("name", "code"), [("UsageProblem", 2), ("SettingsProblem", 2), ("Incomplete", 3), ("Failed", 1)])
def test_exit_codes(name: str, code: int) -> None:
    assert getattr(errors, name).exit_code == code


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("UsageProblem", ValueError),
        ("Refused", PermissionError),
        ("Failed", RuntimeError),
        ("Unreachable", ConnectionError),
        ("Closed", ConnectionError),
    ],
)
def test_each_is_also_the_builtin_that_a_stranger_would_catch(name: str, builtin: type[Exception]) -> None:
    with pytest.raises(builtin, match="cannot do it: no"):
        raise getattr(errors, name)("do it", "no")


def test_all_are_in_the_tree() -> None:
    assert all(issubclass(kind, EdgeError) for kind in ALL)


@pytest.mark.parametrize(
    ("remedy", "said"),
    [
        ("start it: `edgeagent run`", "Start it: `edgeagent run`"),
        ("hub.toml has ops, chat", "hub.toml has ops, chat"),
        ("docs/metrics.md says what may stand in it", "docs/metrics.md says what may stand in it"),
        ("check it.", "Check it."),
        ("--since looks further back", "--since looks further back"),
    ],
    ids=["words", "file", "path", "one word", "option"],
)
def test_a_remedy_begins_with_a_capital_letter_unless_that_is_of_a_name(remedy: str, said: str) -> None:
    assert as_sentence(remedy) == said and str(UsageProblem("x", "y", remedy)).endswith(f". {said}")
