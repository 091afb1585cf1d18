"""The wheels of a release for devices of another kind than this machine: what edgeagent needs there, by pip, one step after the other.

pip alone would take this machine's answer to what a package needs where (its markers know the Python that runs them), so it is asked only
for wheels, and what each needs is read here. What the devices have already is taken again where it fits: then they need not fetch it.
"""

from __future__ import annotations

import contextlib
import email
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edgeagent.errors import Failed, UsageProblem
from edgeagent.upgrade.manifest import PROJECT, normal, platform_key

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.tags import Tag

__all__ = ["Platform", "collect"]

#: The newest glibc that a wheel may ask for, 2.x: that of Ubuntu 22.04, the oldest system that we run on. Raspberry Pi OS 12 has 2.36.
GLIBC = 35
#: How often what was chosen may turn out not to fit and is chosen anew.
MAX_ROUNDS = 20
SECONDS = 900.0


class Platform(NamedTuple):
    """python: ``3.11``. machine: of its programs, ``aarch64``, ``armv7l``."""

    python: str
    machine: str

    @classmethod
    def of(cls, python: str, machine: str, bits: int | None) -> Platform:
        """Of a device's ``versions.python``, ``architecture`` and ``userland_bits``."""
        return cls(*platform_key(python, machine, bits).split(" "))

    def __str__(self) -> str:
        return f"{self.python} {self.machine}"

    @property
    def tags(self) -> list[str]:
        """What a wheel may be built for, the best first. pip takes each literally: glibc 2.17 is none for ``manylinux_2_35``."""
        older = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        found = []
        for minor in range(GLIBC, 4, -1):
            found += [f"manylinux_2_{minor}_{self.machine}"] + ([f"{older[minor]}_{self.machine}"] if minor in older else [])
        return [*found, f"linux_{self.machine}"]

    @property
    def markers(self) -> dict[str, str]:
        """What a requirement may ask of it (packaging.python.org, "Dependency specifiers")."""
        return {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "platform_python_implementation": "CPython",
            "os_name": "posix",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": self.machine,
            "platform_release": "",
            "platform_version": "",
            "extra": "",
        }


def collect(
    version: str, platform: Platform, into: Path, *, wheels: Path | None = None, prefer: Mapping[str, str] | None = None
) -> list[Path]:
    """Everything that edgeagent ``version`` needs on ``platform``, as wheels in the folder ``into``; their paths.

    wheels: a folder to take them from; None: from where pip takes packages. prefer: project -> the version to take where it fits.
    Raises UsageProblem when there is no pip or no ``packaging``, Failed when a wheel is not to be had.
    """
    try:
        from packaging.requirements import Requirement
        from packaging.version import Version
    except ModuleNotFoundError:
        remedy = "`pip install 'edgeagent[operator]'`"
        raise UsageProblem(f"find the wheels for {platform}", "this Python has no `packaging`", remedy) from None

    search, chosen = _Search(platform, into, wheels, prefer or {}), dict[str, Path]()
    wanted: dict[str, SpecifierSet] = {PROJECT: Requirement(f"{PROJECT}=={version}").specifier}
    for _ in range(MAX_ROUNDS):
        ill = [
            name
            for name, rule in wanted.items()
            if name not in chosen or not rule.contains(Version(_version(chosen[name])), True)
        ]
        if not ill:
            return [chosen[name] for name in sorted(wanted)]
        chosen.update(search.fetch({name: wanted[name] for name in ill}))
        wanted = _wanted(wanted[PROJECT], chosen, platform)
    raise Failed(f"find the wheels for {platform}", f"what {', '.join(ill)} must be does not come to rest")


def _wanted(own: SpecifierSet, chosen: Mapping[str, Path], platform: Platform) -> dict[str, SpecifierSet]:
    """What is needed by what was chosen, from edgeagent on."""
    wanted, queue = {PROJECT: own}, [PROJECT]
    while queue:
        name = queue.pop()
        for needed in _requirements(chosen[name], platform) if name in chosen else ():
            other = normal(needed.name)
            if other not in wanted:
                queue.append(other)
            wanted[other] = needed.specifier & wanted[other] if other in wanted else needed.specifier
    return wanted


def _requirements(wheel: Path, platform: Platform) -> list[Requirement]:
    from packaging.requirements import Requirement

    try:
        with zipfile.ZipFile(wheel) as archive:
            name = next(each for each in archive.namelist() if each.endswith(".dist-info/METADATA") and each.count("/") == 1)
            text = archive.read(name).decode("utf-8")
    except (OSError, zipfile.BadZipFile, StopIteration, UnicodeDecodeError) as error:
        raise Failed(f"read {wheel.name}", f"it is no wheel ({error})") from None
    found = [Requirement(line) for line in email.message_from_string(text).get_all("Requires-Dist") or ()]
    return [each for each in found if each.marker is None or each.marker.evaluate(platform.markers)]


def _version(wheel: Path) -> str:
    return wheel.name.split("-", 2)[1].replace("_", "+")


@dataclass(frozen=True)
class _Search:
    """Where wheels are looked for. fetched: what pip was asked for before."""

    platform: Platform
    into: Path
    wheels: Path | None
    prefer: Mapping[str, str]
    fetched: set[str] = field(default_factory=set)

    def fetch(self, wanted: Mapping[str, SpecifierSet]) -> dict[str, Path]:
        """A wheel of each: of the version that is preferred if it may be that, else of the newest that there is."""
        liked = {name: f"=={self.prefer[name]}" for name, rule in wanted.items() if self._fits(name, rule)}
        plain = {name: str(rule) for name, rule in wanted.items()}
        try:
            return self._fetched({**plain, **liked})
        except Failed:
            if not liked:
                raise
            return self._fetched(plain)  # one of them is not to be had (any more)

    def _fits(self, name: str, rule: SpecifierSet) -> bool:
        if name == PROJECT or name not in self.prefer:
            return False
        try:
            return rule.contains(self.prefer[name], True)
        except ValueError:  # it is no version: a device says what it likes
            return False

    def _fetched(self, wanted: Mapping[str, str]) -> dict[str, Path]:
        if self.wheels is None:
            texts = [f"{name}{rule}" for name, rule in wanted.items()]
            self._pip([text for text in texts if text not in self.fetched])
            self.fetched.update(texts)
        return {name: self._best(name, rule) for name, rule in wanted.items()}

    def _best(self, name: str, rule: str) -> Path:
        """The newest wheel in the folder that is of this project, version and platform, and of several the one that fits best."""
        from packaging.specifiers import SpecifierSet
        from packaging.utils import InvalidWheelFilename, parse_wheel_filename

        order, fitting = self._tags(), []
        for path in (self.wheels or self.into).glob("*.whl"):
            with contextlib.suppress(InvalidWheelFilename):
                project, version, build, tags = parse_wheel_filename(path.name)
                places = [order[tag] for tag in tags if tag in order]
                if project == name and places and SpecifierSet(rule).contains(version, True):
                    fitting.append((version, -min(places), build, path))
        if not fitting:
            folder = f"; {self.wheels} has none" if self.wheels else ""
            remedy = "put it there" if self.wheels else "name a folder that has them all with --wheels"
            raise Failed(f"find the wheels for {self.platform}", f"there is no wheel of {name}{rule} for it{folder}", remedy)
        return max(fitting)[-1]

    def _tags(self) -> dict[Tag, int]:
        from packaging import tags

        version = tuple(int(part) for part in self.platform.python.split("."))
        names = self.platform.tags
        found = [
            *tags.cpython_tags(version, platforms=names),
            *tags.compatible_tags(version, f"cp{version[0]}{version[1]}", names),
        ]
        return {tag: place for place, tag in reversed(list(enumerate(found)))}

    def _pip(self, texts: Sequence[str]) -> None:
        if not texts:
            return
        argv = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"),
            *("--only-binary=:all:", "--implementation=cp", f"--python-version={self.platform.python}", f"--dest={self.into}"),
            *(f"--platform={tag}" for tag in self.platform.tags),
            *texts,
        ]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=SECONDS, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise Failed(f"find the wheels for {self.platform}", f"pip took longer than {SECONDS:.0f} s") from None
        if done.returncode:
            raise self._problem(done.stderr)

    def _problem(self, said: str) -> Exception:
        what = f"find the wheels for {self.platform}"
        if "No module named pip" in said:
            return UsageProblem(
                what, "this Python has no pip", f"`{sys.executable} -m ensurepip`, or name a folder with --wheels"
            )
        lines = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR")]
        return Failed(what, "; ".join(lines)[:500] or "pip failed", "name a folder that has them all with --wheels")
