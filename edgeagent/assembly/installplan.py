"""What an installation consists of, step by step. Nothing is done here, and nothing looked at but whether each step is done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeagent import files, places
from edgeagent.assembly import shipped
from edgeagent.assembly.enrolfiles import AGENT_USER
from edgeagent.assembly.installplace import BASE, ENVIRONMENT, Place
from edgeagent.assembly.installsteps import Command, File, Folder, Link, Step
from edgeagent.assembly.natsrelease import NatsRelease
from edgeagent.cel.semver import precedence_key

__all__ = ["LINKED_FROM", "STARTED_BY", "Planned", "placed", "plan", "unit_folder", "wanted_units"]

#: Where people find the program: a folder of sudo's secure_path.
LINKED_FROM = "/usr/local/bin/edgeagent"
#: A unit that something else starts, which is therefore only enabled: the path unit, and the agent's Wants= after a boot.
STARTED_BY = {"edgeagent-leaf.service": "edgeagent-leaf.path", "edgeagent-upgrade.service": "edgeagent-upgrade.path"}
#: What an administrator installs without a package manager (file-hierarchy(7)); what is edited in /etc goes before it.
_LOCAL = "/usr/local/lib"
_GROUPS = ("dialout", "gpio")


@dataclass(frozen=True)
class Planned:
    """after: it is only to be done when one of these was; empty: whenever it is not done yet."""

    step: Step
    after: tuple[Step, ...] = ()


def plan(place: Place, release: NatsRelease | None = None) -> list[Planned]:
    """Every step up to enrolment and start, in order. release: a nats-server to use. Raises EdgeError."""
    units = [*_units(place)]
    udev = [*_udev(place)]
    wanted = [_enabled(place, path) for path in wanted_units()]
    server = list(release.steps(place)) if release else []
    steps: list[Step] = [*_environments(place), *server, *units, *udev, *_others(place), _users(place), _state(place)]
    steps += [Folder(place.path(f"/etc/edgeagent/{name}")) for name in ("collectors.d", "actions.d")]
    steps += [_settings(place, release)]
    steps += [] if place.is_packaged else [Link(place.path(LINKED_FROM), f"{ENVIRONMENT}/bin/edgeagent")]
    found = [Planned(step) for step in (*steps, *wanted)]
    if place.is_live:
        found.append(Planned(_reload(), (*units, *server, *wanted)))
        found += [Planned(step, tuple(udev)) for step in _reload_udev()]
    return found


def placed(place: Place) -> list[Path]:
    """The files that :func:`plan` puts there and that are nobody's own."""
    return [step.path for step in (*_units(place), *_udev(place), *_others(place))]


def wanted_units() -> list[Path]:
    """The units that start with the machine."""
    return [path for path in shipped.units() if "\n[Install]\n" in path.read_text(encoding="utf-8") and "@" not in path.name]


def unit_folder(place: Place) -> Path:
    """Where the units are. Raises EdgeError."""
    return place.path("/usr/lib/systemd/system" if place.is_packaged else f"{_LOCAL}/systemd/system")


def _units(place: Place) -> Iterator[File]:
    if not place.is_packaged:
        yield from (File(unit_folder(place) / path.name, path.read_bytes()) for path in shipped.units())


def _udev(place: Place) -> Iterator[File]:
    if not place.is_packaged:
        for path in sorted((shipped.deploy() / "udev").glob("*.rules")):
            yield File(place.path(f"/etc/udev/rules.d/{path.name}"), path.read_bytes())


def _others(place: Place) -> Iterator[File]:
    if not place.is_packaged:
        for folder in ("sysusers.d", "tmpfiles.d"):
            path = shipped.deploy() / folder / "edgeagent.conf"
            yield File(place.path(f"{_LOCAL}/{folder}/{path.name}"), path.read_bytes())


def _environments(place: Place) -> Iterator[Link]:
    """The environment that counts, and the one that carries upgrades out: that of the installation, unless a newer one came beside it since."""

    def newer(target: str) -> bool:
        try:
            return precedence_key(target.removeprefix("releases/")) > precedence_key(place.version)
        except ValueError:
            return False

    for name in ("current", "proven"):
        yield Link(place.path(f"{BASE}/{name}"), ".", stays=newer)


def _in_root(place: Place) -> tuple[str, ...]:
    return (f"--root={place.root}",) if place.is_image else ()


def _users(place: Place) -> Command:
    def done() -> bool:
        groups = _lines(place, "/etc/group")
        members = {name: fields[3].split(",") for name, *fields in ((line[0], *line) for line in groups) if len(fields) > 3}
        return _user(place) is not None and all(AGENT_USER in members.get(group, ()) for group in _GROUPS)

    argv = ("systemd-sysusers", *_in_root(place), "edgeagent.conf")
    return Command(f"the user {AGENT_USER}, in {' and '.join(_GROUPS)}", argv, done)


def _state(place: Place) -> Command:
    folder = place.path(str(places.SYSTEM_STATE))

    def done() -> bool:
        try:
            found = folder.stat()
        except OSError:
            return False
        return found.st_mode & 0o777 == 0o700 and found.st_uid == _user(place)

    argv = ("systemd-tmpfiles", "--create", *_in_root(place), "edgeagent.conf")
    return Command(f"{folder}, which only {AGENT_USER} may enter", argv, done)


def _user(place: Place) -> int | None:
    """The number of the agent's user there."""
    return next((int(line[2]) for line in _lines(place, "/etc/passwd") if line[0] == AGENT_USER and len(line) > 2), None)


def _lines(place: Place, file: str) -> list[list[str]]:
    data = files.read_if_there(place.path(file)) or b""
    return [line.split(":") for line in data.decode("utf-8", "replace").splitlines()]


def _settings(place: Place, release: NatsRelease | None) -> File:
    text = (shipped.deploy() / "agent.toml").read_bytes()
    if release:
        text = text.replace(b'mode = "external"\n', f'mode = "external"\nserver = "{release.target}"\n'.encode(), 1)
    return File(place.path(str(places.SYSTEM_SETTINGS)), text, keep=True)


def _enabled(place: Place, unit: Path) -> Command:
    lines = unit.read_text(encoding="utf-8").splitlines()
    (wanted_by,) = [line.partition("=")[2] for line in lines if line.startswith("WantedBy=")]
    link = place.path(f"/etc/systemd/system/{wanted_by}.wants/{unit.name}")
    return Command(f"{unit.name} starts with the machine", ("systemctl", *_in_root(place), "enable", unit.name), link.is_symlink)


def _reload() -> Command:
    return Command("systemd reads its units again", ("systemctl", "daemon-reload"), lambda: False)


def _reload_udev() -> Iterator[Command]:
    """Nothing where no udevd runs: it reads its rules when it starts."""
    if Path("/run/udev/control").exists():
        trigger = ("udevadm", "trigger", "--action=add", "--subsystem-match=tty", "--subsystem-match=leds")
        yield Command("udev reads its rules again", ("udevadm", "control", "--reload"), lambda: False)
        yield Command("udev applies them to what is plugged in", trigger, lambda: False)
