"""An environment beside another: what is the same is carried over, the rest is installed offline, and only what is whole counts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.errors import Failed
from edgeagent.upgrade import environment
from edgeagent.upgrade.manifest import Manifest, Wheel, installed, site_packages
from tests.support.releases import tiny

STUBS = {f"edgeagent/assembly/{name}.py": "" for name in ("__init__", "agent", "deviceloop", "upgrader")}


def own(into: Path, version: str, *, needs: tuple[str, ...] = ("lib>=1",), **more: str) -> Path:
    """A stand-in for edgeagent: what is looked over is there."""
    files = {
        **STUBS,
        "edgeagent/__init__.py": "",
        "edgeagent/cli.py": f"def main(): print('edgeagent {version}')\n",
        **more,
    }
    return tiny(into, "edgeagent", version, needs=needs, files=files, entry="edgeagent = edgeagent.cli:main")


@pytest.fixture(scope="module")
def present(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation: edgeagent 1.0, what it needs, a plugin of the owner's, and a nats-server that a person put there."""
    folder = tmp_path_factory.mktemp("opt")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    environment._carry(Path(sys.prefix), folder, set(installed(Path(sys.prefix))) - {"pip"})
    wheels = [
        own(folder, "1.0"),
        tiny(folder, "lib", "1.0"),
        tiny(folder, "plugin", "3", needs=["edgeagent"], entry="plug = plugin:go"),
    ]
    subprocess.run([folder / "bin/python", "-I", "-m", "pip", "install", *environment._OFFLINE, *wheels], check=True)
    (folder / "bin/nats-server").write_text("#!/bin/sh\necho nats-server: v2.15.0\n")
    (folder / "bin/nats-server").chmod(0o755)
    return folder


Make = Callable[..., Path]


@pytest.fixture
def make(present: Path, tmp_path: Path) -> Make:
    def made(*files: Path, version: str = "2.0", sha256: str = "s") -> Path:
        wheels = [Wheel(file=path.name, bytes=1, sha256="a" * 64, upload="0" * 32) for path in files]
        release = Manifest(version=version, wheels=wheels, sets={"3.11 x": [wheel.file for wheel in wheels]})
        target = tmp_path / "releases" / version
        environment.make(present, target, release, wheels, tmp_path, sha256, lambda line: None)
        return target

    return made


def test_what_is_new_is_installed_and_all_else_is_carried_over(present: Path, make: Make, tmp_path: Path) -> None:
    (tmp_path / "releases/2.0/lib/python3.0").mkdir(parents=True)  # what a power cut left
    target = make(own(tmp_path, "2.0"))
    assert installed(target) == {**installed(present), "edgeagent": "2.0"}
    assert environment.is_whole(target, "s") and not environment.is_whole(target, "t")
    said = subprocess.run([target / "bin/edgeagent", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout == "edgeagent 2.0\n"
    lib, theirs = (site_packages(each) / "lib.py" for each in (present, target))
    assert lib.samefile(theirs), "what is the same takes no room twice"
    assert (target / "bin/plug").read_text().startswith(f"#!{target}/bin/python\n")
    assert (target / "bin/nats-server").samefile(present / "bin/nats-server")
    assert installed(present)["edgeagent"] == "1.0" and not environment.is_whole(present, "s")


def test_a_release_that_does_not_start_is_never_whole(make: Make, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="No module named 'nothing_of_this_name'"):
        make(own(tmp_path, "2.0", **{"edgeagent/assembly/agent.py": "import nothing_of_this_name"}))
    assert not environment.is_whole(tmp_path / "releases/2.0", "s")


def test_packages_that_do_not_fit_together_are_named(make: Make, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"lib>=5.*but you have lib 1\.0"):
        make(own(tmp_path, "2.0", needs=("lib>=5",)))


def test_the_room_is_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tiny(tmp_path, "large", "1", files={"large.py": "#" * 4_000_000})
    environment.check_room(tmp_path, [wheel])
    left = os.statvfs_result((4096, 4096, 10**6, 1000, 17_500, 1, 1, 1, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: left)
    environment.check_room(tmp_path, [])
    with pytest.raises(Failed, match=r"71,680,000 bytes free, and 75,\d{3},\d{3} are needed"):
        environment.check_room(tmp_path, [wheel])
    damaged = tmp_path / "damaged-1-py3-none-any.whl"
    damaged.write_bytes(b"PK")
    with pytest.raises(Failed, match="damaged"):
        environment.check_room(tmp_path, [damaged])
