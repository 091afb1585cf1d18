"""Which file is run or read at all: nobody else may have put it there, nor any folder or link on the way to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeagent import actions
from edgeagent.builtin.actions.plugin import FOLDER, load_folder
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.patterns.programs import check_file
from tests.support.acting import Board


@pytest.fixture
def program(tmp_path: Path) -> Path:
    folder = tmp_path / "opt" / "shared" / "app" / "bin"
    folder.mkdir(parents=True)
    for each in (folder, *folder.parents[:3]):
        each.chmod(0o755)
    file = folder / "prog"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


def test_a_closed_one_is_run(program: Path) -> None:
    check_file(program)
    check_file(program, {os.geteuid(), 0})


@pytest.mark.parametrize("up", range(5), ids=["file", "folder", "above", "shared", "opt"])
def test_no_folder_on_the_way_is_open_to_everybody(program: Path, up: int) -> None:
    open_one = (program, *program.parents)[up]
    open_one.chmod(0o777)
    with pytest.raises(Refused, match=f"everybody may write to {open_one}"):
        check_file(program)


def test_a_folder_where_only_owners_put_things_away_is_none_such(program: Path) -> None:
    program.parents[2].chmod(0o1777)
    check_file(program)
    program.parents[0].chmod(0o1777)
    with pytest.raises(Refused):
        check_file(program)


@pytest.mark.parametrize("absolute", [True, False], ids=["absolute", "relative"])
def test_each_link_on_the_way_stands_in_a_closed_folder(program: Path, tmp_path: Path, absolute: bool) -> None:
    between, first = tmp_path / "between", tmp_path / "first"
    for folder in (between, first):
        folder.mkdir(mode=0o755)
    (between / "mid").symlink_to(program if absolute else os.path.relpath(program, between))
    (first / "prog").symlink_to(between / "mid" if absolute else "../between/mid")
    check_file(first / "prog")
    between.chmod(0o777)
    with pytest.raises(Refused, match="between"):
        check_file(first / "prog")


def test_links_in_a_circle_and_into_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(Failed, match="circle"):
        check_file(tmp_path / "a")
    with pytest.raises(EdgeError, match="nothing"):
        check_file(tmp_path / "nothing")


def test_what_is_read_need_not_run(program: Path) -> None:
    program.chmod(0o644)
    check_file(program, runs=False)
    with pytest.raises(Refused, match="no program"):
        check_file(program)


def test_a_manifest_that_others_may_change_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what the program is given, and who runs it."""
    monkeypatch.setattr(actions, "_actions", dict(actions._actions), raising=False)
    board = Board(tmp_path)
    board.program(f"{FOLDER}/mine", "true")
    board.put(f"{FOLDER}/mine.toml", 'description = "Mine."', 0o666)
    assert "everybody may write" in load_folder(board.machine)["mine"]
