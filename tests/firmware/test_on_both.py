"""The firmware's modules, on the interpreter of a board and on this one: the same files of tests, the same files of the firmware.

A file of tests that says ``MICROPYTHON_ONLY`` in its first line needs what only a board's interpreter has.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.micropython import APP, DESKTOP, FIRMWARE, HEAP, environment, micropython, missing

FOLDER = Path(__file__).parent / "both"
FILES = sorted(path.stem for path in FOLDER.glob("check_*.py"))


def is_for(name: str, interpreter: str) -> bool:
    return interpreter == "micropython" or "MICROPYTHON_ONLY" not in (FOLDER / f"{name}.py").read_text().partition("\n")[0]


CASES = [(name, each) for name in FILES for each in ("cpython", "micropython") if is_for(name, each)]


@pytest.mark.parametrize(("name", "interpreter"), CASES)
def test_it_runs_on(name: str, interpreter: str, tmp_path: Path) -> None:
    if interpreter == "micropython" and (why := missing()):
        pytest.skip(why)
    command = [sys.executable, "-P"] if interpreter == "cpython" and sys.version_info >= (3, 11) else [sys.executable]
    if interpreter == "micropython":
        command = [micropython(), "-X", f"heapsize={HEAP}"]
    ended = subprocess.run(
        [*command, str(FOLDER / "run.py"), name],
        cwd=tmp_path,
        env=environment(APP, FIRMWARE, DESKTOP, FOLDER),
        capture_output=True,
        text=True,
        timeout=90,
    )
    results = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    failures = [f"{each['test']}\n{each['error']}" for each in results if each.get("error")]
    assert not failures, "\n\n".join(failures)
    assert ended.returncode == 0 and results[-1:] == [{"end": True}] and len(results) > 1, ended.stdout + ended.stderr
