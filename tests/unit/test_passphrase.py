"""Where a passphrase may come from, in which order, and that it is in no output."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeagent import places
from edgeagent.cli import app, passphrase
from edgeagent.errors import EdgeError, Refused, UsageProblem
from edgeagent.hub.owner import Owner
from tests.support.home import PASSPHRASE, own_home

SECRET = "tea in the garden"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with own_home(tmp_path / "home"):
        monkeypatch.delenv(passphrase.VARIABLE)
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "passphrase"
    file.touch(0o600)
    file.write_text(f"{SECRET}\nnot this line\n")
    return file


def owners(tmp_path: Path, secret: str | None) -> Path:
    keys = tmp_path / "x.keys"
    Owner.create("x").save(keys, secret)
    return keys


def run(*words: str, input: str = "", **env: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words), input=input, env=env)
    code = result.exception.exit_code if isinstance(result.exception, EdgeError) else result.exit_code
    return code, f"{result.output}{result.exception or ''}"


def test_a_file_counts_before_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(passphrase.VARIABLE, PASSPHRASE)
    keys = owners(tmp_path, SECRET)
    assert passphrase.new(file, no_passphrase=False) == passphrase.known(keys, file) == SECRET
    assert passphrase.new(None, no_passphrase=False) == passphrase.known(keys, None) == PASSPHRASE


def test_a_file_that_needs_none_is_asked_for_none(tmp_path: Path) -> None:
    assert passphrase.known(owners(tmp_path, None), None) is None
    assert passphrase.known(tmp_path / "none.keys", None) is None, "that it is missing is said by who reads it"


def test_without_any_and_without_a_terminal_every_way_is_named(tmp_path: Path) -> None:
    code, said = run("hub", "init", "--dir", str(tmp_path / "hub"))
    assert code == 2
    for way in ("--passphrase-file FILE", "$EDGEAGENT_PASSPHRASE", "terminal", "--no-passphrase"):
        assert way in said
    assert not (tmp_path / "hub").exists() and not places.owners_folder().exists()
    with pytest.raises(UsageProblem, match=r"--passphrase-file FILE, \$EDGEAGENT_PASSPHRASE, or a terminal"):
        passphrase.known(owners(tmp_path, SECRET), None)


def test_no_passphrase_is_said_loudly(tmp_path: Path) -> None:
    code, said = run("hub", "init", "--dir", str(tmp_path / "hub"), "--no-passphrase")
    assert code == 0 and "NOT encrypted: whoever reads their file is the hub" in said and "(NOT encrypted)" in said
    assert Owner.load(places.owners_folder() / "hub.keys", None).hub == "hub"
    assert run("hub", "init", "--no-passphrase", "--passphrase-file", "x", "--dir", str(tmp_path / "b"), "--name", "b")[0] == 2


@pytest.mark.parametrize("text", ["", "\n", "short\n"])
def test_one_that_is_empty_or_short(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageProblem, match=r"empty|shorter than 8"):
        passphrase.new(file, no_passphrase=False)


def test_a_file_that_others_can_read(file: Path) -> None:
    file.chmod(0o644)
    with pytest.raises(Refused, match="others on this machine can read it"):
        passphrase.new(file, no_passphrase=False)


def test_the_whole_life_of_the_owners_keys_by_commands(file: Path, tmp_path: Path) -> None:
    place = ("--dir", str(tmp_path / "hub"))
    said = [run("hub", "init", *place, "--passphrase-file", str(file))]
    assert said[-1][0] == 0 and str(places.owners_folder() / "hub.keys") in said[-1][1] and "hub keys backup" in said[-1][1]
    know = ("--passphrase-file", str(file))
    said.append(run("hub", "keys", "backup", *place, *know, "--out", str(tmp_path / "usb.keys")))
    said.append(run("hub", "keys", "restore", str(tmp_path / "usb.keys"), *place, *know))
    assert "nothing was missing" in said[-1][1]
    said.append(run("hub", "keys", "update", *place, *know))
    assert "everything is up to date" in said[-1][1]
    said.append(run("hub", "keys", "show", *place))
    assert "owner only" in said[-1][1] and "same" not in said[-1][1]
    said.append(run("hub", "keys", "show", "--check", "--json", *place, *know))
    assert {row["same"] for row in json.loads(said[-1][1])} == {True}
    new = tmp_path / "new"
    new.touch(0o600)
    new.write_text(PASSPHRASE)
    said.append(run("hub", "keys", "passphrase", *place, *know, "--new-passphrase-file", str(new)))
    said.append(run("hub", "keys", "show", "--check", *place, EDGEAGENT_PASSPHRASE=PASSPHRASE))
    assert [code for code, _ in said] == [0] * len(said), said
    assert run("hub", "keys", "update", *place, *know)[0] == 1, "the old one opens nothing any more"
    everything = "".join(text for _, text in said)
    assert SECRET not in everything and PASSPHRASE not in everything and "-----BEGIN" not in everything


def test_show_ends_with_1_when_somebody_changed_the_hub(tmp_path: Path) -> None:
    place = ("--dir", str(tmp_path / "hub"))
    assert run("hub", "init", *place, "--no-passphrase")[0] == 0
    path = tmp_path / "hub" / "keys" / "public.json"
    owner = Owner.load(places.owners_folder() / "hub.keys", None)
    path.write_text(path.read_text().replace(owner.role_public("admin"), Owner.create("x").role_public("admin")))
    code, said = run("hub", "keys", "show", "--check", *place)
    assert code == 1 and "DIFFERS from the owner's" in said


def test_on_a_terminal_it_is_asked_for_twice_and_not_shown(tmp_path: Path) -> None:
    for answers, code in ([SECRET, SECRET], 0), ([SECRET, "something else"], 2):
        ours, theirs = pty.openpty()
        argv = [sys.executable, "-m", "edgeagent", "hub", "init", "--dir", str(tmp_path / f"hub{code}"), "--name", f"b{code}"]
        process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        try:
            said = talk(ours, ["Passphrase: ", "again: "], answers)
            assert process.wait(timeout=60) == code, said
        finally:
            process.kill()
            process.wait()
        assert SECRET not in said
    assert Owner.load(places.owners_folder() / "b0.keys", SECRET).hub == "b0" and not (tmp_path / "hub2").exists()


def talk(terminal: int, questions: list[str], answers: list[str]) -> str:
    """Answer each question when it was asked, its last blank included: before that the terminal still drops what is typed."""
    said = ""
    for question, answer in zip(questions, answers, strict=True):
        while question not in said:
            said += os.read(terminal, 4096).decode()
        os.write(terminal, f"{answer}\n".encode())
    try:
        while part := os.read(terminal, 4096):
            said += part.decode()
    except OSError:  # EIO: the other side has closed it
        pass
    os.close(terminal)
    return said
