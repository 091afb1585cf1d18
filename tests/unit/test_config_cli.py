"""``edgeagent config`` without a hub: whose configuration is meant, what there is to set, the editor, and how things are shown."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeagent.cli import app, config_show, config_status, editor
from edgeagent.cli.config_options import scope_of
from edgeagent.config import KEYS
from edgeagent.errors import EdgeError, Failed, UsageProblem
from edgeagent.fleet.config import Written
from edgeagent.fleet.configversion import Version
from edgeagent.subjects import FLEET_ALL, Scope


def refused(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    assert isinstance(result.exception, EdgeError) and result.exception.exit_code == 2, result.output
    return str(result.exception)


def test_a_scope_is_exactly_one() -> None:
    assert scope_of(True, None, None) == FLEET_ALL
    assert scope_of(False, ["berlin"], None) == Scope.group("berlin")
    assert scope_of(False, [], ["pi-01"]) == Scope.device("pi-01")
    for wrong in (
        (False, None, None),
        (True, ["berlin"], None),
        (False, ["a", "b"], None),
        (False, ["a"], ["b"]),
        (False, ["A*"], None),
    ):
        with pytest.raises(UsageProblem):
            scope_of(*wrong)


@pytest.mark.parametrize(
    "command", [["set", "a=1"], ["unset", "a"], ["get"], ["edit"], ["apply", "x"], ["diff"], ["history"], ["rollback"]]
)
def test_a_label_is_no_scope_and_the_error_says_what_to_do(command: list[str]) -> None:
    said = refused("config", *command, "-l", "site=berlin")
    assert "edgeagent device group add NAME $(edgeagent fleet ls -l site=berlin -o name)" in said and "-g NAME" in said


@pytest.mark.parametrize("option", ["-g", "-d"])
def test_a_label_in_the_place_of_a_name_is_known_as_one(option: str) -> None:
    said = refused("config", "get", option, "site=new york")
    assert "a label is what devices say about themselves" in said and "fleet ls -l 'site=new york' -o name" in said


def test_no_help_of_a_command_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = CliRunner().invoke(app, ["config", "--help"]).output
    assert "rollback" in listed and [line for line in listed.splitlines() if line.endswith("...")][1:] == [], "but the usage"


@pytest.mark.parametrize("text", ["", "\n  \n", "# all of it\n[app.doors]\n", "{}", '{"app": {}}'], ids=range(5))
def test_what_sets_nothing_takes_nothing_away_unless_it_is_forced(text: str, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text)
    for words, stdin in (([str(file)], None), (["-"], text)):
        result = CliRunner().invoke(app, ["config", "apply", "-g", "berlin", *words], input=stdin)
        assert isinstance(result.exception, UsageProblem), result.output
        assert "it would remove all configuration of group.berlin. Say `--force` if that is meant" in str(result.exception)
        for meant in ("--force", "--dry-run"):
            result = CliRunner().invoke(app, ["config", "apply", "-g", "berlin", *words, meant], input=stdin)
            assert "no context is chosen" in str(result.exception), "it goes on to the hub, of which there is none here"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "there is no such file"),
        (b"[app", "it is not valid TOML"),
        (b"\n {", "it is not valid JSON"),
        (b"\xff", "it is not UTF-8 text (byte 0)"),
        (b"app = 5", "app: it must be a table"),
    ],
    ids=["none", "toml", "json", "bytes", "nonsense"],
)
def test_a_file_that_is_no_document_makes_no_sense(data: bytes | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "x"
    if data is not None:
        file.write_bytes(data)
    assert said in refused("config", "apply", "--fleet", str(file))
    assert "it is a folder" in refused("config", "apply", "--fleet", str(tmp_path))


def test_every_key_is_listed() -> None:
    rows = json.loads(CliRunner().invoke(app, ["config", "keys", "--json"]).output)
    assert [row["key"] for row in rows] == list(KEYS) and all(row["description"] for row in rows)
    found = {row["key"]: row for row in rows}
    assert found["agent.heartbeat_seconds"]["bounds"] == "at least 1, at most 3,600"
    assert found["agent.log_level"]["type"] == "one of debug, info, warning, error" and found["agent.log_level"]["live"] is True
    assert found["device.labels"]["type"] == "table of text" and found["leaf.ping_seconds"]["live"] is False
    table = CliRunner().invoke(app, ["config", "keys"]).output.splitlines()
    assert table[0].split() == ["KEY", "TYPE", "DEFAULT", "BOUNDS", "LIVE", "DESCRIPTION"] and len(table) == len(KEYS) + 1


def test_what_is_written_by_others_cannot_play_tricks_with_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    version = Version(scope=FLEET_ALL, revision=7, generation=1, by="o\x1b[2Jlga", note="a\nb\u202e")
    config_show.changes({"app.x\x1b": ("\x9b", "\x1b]0;\x07" + "y" * 5000)})
    said = config_show.head(version) + capsys.readouterr().out
    assert not set(said) & set("\x1b\x9b\x07\u202e") and "# note: a" in said and "…" in said


@pytest.mark.parametrize(
    ("written", "changes", "dry", "said"),
    [
        (True, {"a.b": (1, 2)}, False, "fleet.all: revision 7\n  a.b  1 -> 2\n1 device follows it; it is online now\n"),
        (False, {}, False, "nothing changes: fleet.all stays at revision 7\n"),
        (False, {"a.b": (None, 2)}, True, "fleet.all would change:\n  a.b  (not set) -> 2\n"),
        (True, {}, False, "fleet.all: revision 7; the same, signed anew\n"),
    ],
)
def test_what_became_of_a_change(
    written: bool, changes: dict[str, tuple[object, object]], dry: bool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Written(scope=FLEET_ALL, revision=7, generation=1, changes=changes, written=written, devices=1, present=("pi-01",))
    config_show.written(made, as_json=False, dry=dry)
    assert capsys.readouterr().out.startswith(said)
    config_show.written(made, as_json=True)
    record = json.loads(capsys.readouterr().out)
    assert record == {
        "scope": "fleet.all",
        "revision": 7,
        "generation": 1,
        "changed": {name: list(pair) for name, pair in changes.items()},
    }


# ---- the editor ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_own_state")
def test_a_draft_is_ones_own_and_edited_by_ones_own_editor(monkeypatch: pytest.MonkeyPatch) -> None:
    path = editor.draft("config-fleet.all", "a = 1\n")
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("EDITOR", "sed -i 's/a = 1/a = 3/'")
    editor.edit(path)
    assert path.read_text() == "a = 3\n"
    monkeypatch.setenv("VISUAL", "sed -i s/3/4/")
    editor.edit(path)
    assert path.read_text() == "a = 4\n", "$VISUAL goes before $EDITOR"


@pytest.mark.usefixtures("_own_state")
@pytest.mark.parametrize(("named", "why"), [("false", "ended with 1"), ("no-such-editor", "No such file"), ("'", "No closing")])
def test_an_editor_that_fails_is_named(named: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = editor.draft("x", "text")
    monkeypatch.setenv("EDITOR", named)
    with pytest.raises(Failed, match=why):
        editor.edit(path)
    assert path.read_text() == "text"


@pytest.mark.usefixtures("_own_state")
def test_without_any_editor_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = editor.draft("x", "text")
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep)
    with pytest.raises(Failed, match=r"no editor on this machine\. Set \$EDITOR"):
        editor.edit(path)


def test_a_document_that_makes_no_sense_has_no_author(capsys: pytest.CaptureFixture[str]) -> None:
    said = config_show.head(Version(scope=FLEET_ALL, revision=7, generation=10**12, problem="nobody signed it like this\x1b"))
    assert said == "# fleet.all: revision 7\n# it makes no sense: nobody signed it like this\N{REPLACEMENT CHARACTER}"
    config_show.warn(["a\x1b[2J\nb"])
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "NOTE: a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}b\n"


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "no device is online"), (1, "the one device that is online has applied it"), (2, "all 2 devices that are online have")],
)
def test_how_many_have_applied_it(count: int, said: str) -> None:
    assert config_status._all_done(count).startswith(said)
