"""Which modules of somebody's own are copied to a board's /lib."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.errors import UsageProblem
from edgeagent.firmware import ownfiles


def lib(folder: Path, *names: str, size: int = 1) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"#" * size)
    return folder


def test_modules_are_taken_and_what_else_is_there_is_not(tmp_path: Path) -> None:
    names = [
        "sensor_tilt.py",
        "bno055/__init__.py",
        "bno055/Registers.mpy",
        "README.md",
        "__pycache__/sensor_tilt.py",
        ".git/hook.py",
    ]
    assert list(ownfiles.read(lib(tmp_path, *names))) == [
        "/lib/bno055/Registers.mpy",
        "/lib/bno055/__init__.py",
        "/lib/sensor_tilt.py",
    ]


@pytest.mark.parametrize(
    ("names", "size", "why"),
    [
        ([], 1, "it has no .py and no .mpy"),
        (["notes.txt"], 1, "it has no .py and no .mpy"),
        (["sensor tilt.py"], 1, "no module is called 'sensor tilt.py'"),
        (["x'; import os.py"], 1, "no module is called"),
        (["a/b/c/d/e.py"], 1, "three folders deep"),
        (["x.py", "x.mpy"], 1, "x.mpy is there as .py too"),
        (["x.py"], ownfiles.MAX_BYTES + 1, "a board takes 64 with 131,072"),
        ([f"x{number}.py" for number in range(65)], 1, "it has 65 modules"),
    ],
)
def test_what_no_board_could_take_is_refused(tmp_path: Path, names: list[str], size: int, why: str) -> None:
    with pytest.raises(UsageProblem) as refused:
        ownfiles.read(lib(tmp_path, *names, size=size))
    assert why in str(refused.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="there is no such folder"):
        ownfiles.read(tmp_path / "none")


def test_the_same_module_in_its_other_form_is_in_the_way() -> None:
    there = ["/lib/x.py", "/lib/y.mpy", "/lib/z.py", "/lib/x.mpy", "/lib/x.json"]
    assert ownfiles.hiding(["/lib/x.mpy", "/lib/y.py", "/a/z.mpy"], there) == ["/lib/x.py", "/lib/y.mpy"]
