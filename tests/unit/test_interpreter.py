from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeagent import __version__, interpreter


@pytest.mark.parametrize("version", [(3, 10), sys.version_info[:2]])
def test_a_module_runs_with_its_arguments_and_nothing_out_of_the_current_folder(tmp_path: Path, version: tuple[int, ...]) -> None:
    (tmp_path / "typer.py").write_text("raise SystemExit('somebody else was run')")
    plainly = subprocess.run([sys.executable, "-m", "edgeagent", "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert "somebody else was run" in plainly.stderr
    words = interpreter.argv("edgeagent", "--version", version=version)
    assert words[0] == sys.executable
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"edgeagent {__version__}\n", "")


@pytest.mark.parametrize("version", [(3, 10), (3, 11), (3, 13)])
def test_the_arguments_come_last_and_whole(version: tuple[int, ...]) -> None:
    assert interpreter.argv("edgeagent", "hub", "up", "--dir", "/a b", version=version)[-4:] == ["hub", "up", "--dir", "/a b"]
