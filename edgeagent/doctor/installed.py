"""Whether there is an agent on this machine, and whether its files are its own."""

from __future__ import annotations

import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeagent.assembly.findings import Finding
from edgeagent.doctor.check import ONLY_ROOT, Case, Check, Patient
from edgeagent.doctor.observed import running
from edgeagent.doctor.systemd import AGENT_UNIT, Unit, show
from edgeagent.enrolled import PRIVATE
from edgeagent.errors import EdgeError, Refused
from edgeagent.identity import device_id
from edgeagent.places import is_there

__all__ = ["FILES", "SETTINGS", "File", "Owned", "judge_files", "judge_settings", "read_files", "read_settings"]

GOOD = Case("good", "this is {id}, by {path}")
DEFAULTS = Case("good", "this is {id}, all defaults ({path} is not there)")
NOT_INSTALLED = Case(
    "wrong",
    "edgeagent is not installed on this machine: there is neither {path} nor {state}",
    "`sudo edgeagent install --hub HOST --token-file FILE` makes it a device; on the hub's machine it is `edgeagent hub doctor`",
)
BROKEN = Case(
    "wrong",
    "cannot {what}: {why}",
    "{remedy}",
    "The other checks are left out then, but for those that need no settings.",
    shown="agent.toml, or what the enrolment left, can't be used: {why}",
)
NAMELESS = Case("wrong", "{why}", "{remedy}", shown="it can't be told which device this is: {why}")
HIDDEN = Case("unknown", "only root and the agent may read {path}", "`sudo edgeagent doctor`")

OWN = Case("good", "nobody else can read {state}, or change the settings")
OPEN = Case(
    "wrong",
    "others on this machine can {do} {path} (mode {mode})",
    "`sudo chmod {wanted} {path}`",
    "Whoever has the key in device.creds is this device; whoever can write agent.toml decides what commands may do.",
)
LINK = Case(
    "warn",
    "{path} is a link",
    "see where it leads (`ls -l {path}`) before anything is changed; `sudo rm {path}` if it is not yours",
    "The agent never makes one there, and somebody who took it over could lead root astray with it.",
)
FOREIGN = Case(
    "wrong",
    "{path} belongs to {owner}, and the agent runs as {user}",
    "`sudo chown -R {user}: {path}`",
)
NOT_ROOTS = Case(
    "wrong",
    "{path} belongs to {owner}, who can change what commands may do",
    "`sudo chown root: {path}`",
)


@dataclass(frozen=True)
class File:
    """uid, mode: of the file; mode: the permission bits. is_link: then both are of the link itself."""

    path: Path
    uid: int
    mode: int
    is_link: bool = False


@dataclass(frozen=True, kw_only=True)
class Owned:
    """agent: user id as which the agent runs or should run. state: its folder; None: it is not there. inside: files with secrets in it; None:
    we may not look. settings: agent.toml and its folder. runtime: the runtime folder. system: the machine's own agent's.
    """

    folder: Path
    agent: int | None = None
    state: File | None = None
    inside: tuple[File, ...] | None = ()
    settings: tuple[File, ...] = ()
    runtime: File | None = None
    system: bool = False


def read_settings(patient: Patient) -> Patient:
    return patient


def judge_settings(patient: Patient) -> Iterator[Finding]:
    own, problem = patient.settings, patient.problem
    if problem is not None:
        refused = isinstance(problem, Refused)
        path = problem.what.removeprefix("read ")
        yield HIDDEN(path=path) if refused else _broken(problem)
        return
    if not patient.is_installed:
        yield NOT_INSTALLED(path=own.source, state=own.state_folder)
        return
    try:
        name = device_id(patient.machine, own.device.id)
    except EdgeError as error:
        yield NAMELESS(why=error.why, remedy=error.remedy)
        return
    there = own.source is not None and is_there(own.source)
    yield (GOOD if there else DEFAULTS)(id=name, path=own.source)


def _broken(problem: EdgeError) -> Finding:
    """Whatever settings and enrolment need; the first words of the error say which file."""
    return BROKEN(what=problem.what, why=problem.why, remedy=problem.remedy or "see docs/settings.md")


def read_files(patient: Patient) -> Owned:
    own = patient.settings
    secrets = {own.credentials_file, *(own.state_folder / name for name in PRIVATE)}
    settings = [own.source, own.source.parent] if own.source and is_there(own.source) else []
    return Owned(
        folder=own.state_folder,
        agent=_user(patient, show(patient, AGENT_UNIT)),
        state=_file(own.state_folder),
        inside=tuple(found for path in sorted(secrets) if (found := _itself(path))) if patient.may_look else None,
        settings=tuple(found for path in settings if (found := _file(path))),
        runtime=_file(own.runtime_folder),
        system=own.is_system,
    )


def _user(patient: Patient, unit: Unit) -> int | None:
    """As whom the agent runs, or would; None: not known."""
    seen = running(patient)
    if seen is not None:
        try:
            return Path(f"/proc/{seen.pid}").stat().st_uid
        except OSError:
            return None
    try:
        return pwd.getpwnam(unit.user).pw_uid if unit.is_loaded and unit.user else None
    except KeyError:
        return None


def _file(path: Path) -> File | None:
    """None where there is none, or we may not see it."""
    try:
        found = path.stat()
    except OSError:
        return None
    return File(path, found.st_uid, stat.S_IMODE(found.st_mode))


def _itself(path: Path) -> File | None:
    """The same, not following a link: the folder is the agent's, who can put one there."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return File(path, found.st_uid, stat.S_IMODE(found.st_mode), stat.S_ISLNK(found.st_mode))


def judge_files(found: Owned) -> Iterator[Finding]:
    worries = [*_settings(found), *_secrets(found)]
    yield from worries
    if found.inside is None:
        yield ONLY_ROOT(what=f"what is in {found.folder}")
    elif not worries:
        yield OWN(state=found.folder)


def _settings(found: Owned) -> Iterator[Finding]:
    for each in found.settings:
        # Whoever may write in the folder can put another file in the place of this one; in one with the sticky bit only the owner may.
        if each.mode & 0o022 and not each.mode & stat.S_ISVTX:
            yield OPEN(do="change", path=each.path, mode=f"{each.mode:04o}", wanted="go-w")
        if found.system and each.uid != 0:
            yield NOT_ROOTS(path=each.path, owner=_name(each.uid))


def _secrets(found: Owned) -> Iterator[Finding]:
    if found.state is None:
        return
    inside = [each for each in found.inside or () if not each.is_link]
    yield from (LINK(path=each.path) for each in found.inside or () if each.is_link)
    for each in (found.state, *inside):
        if each.mode & 0o077:
            is_folder = each is found.state
            yield OPEN(do="enter" if is_folder else "read", path=each.path, mode=f"{each.mode:04o}", wanted="go-rwx")
    if found.runtime and found.runtime.mode & 0o022:
        yield OPEN(do="change", path=found.runtime.path, mode=f"{found.runtime.mode:04o}", wanted="go-w")
    user = found.state.uid if found.agent is None else found.agent
    if user == 0:
        return  # root may read what others own
    owned = [found.state, *inside, *([found.runtime] if found.runtime else [])]
    foreign = [each for each in owned if each.uid != user]
    yield from (FOREIGN(path=each.path, owner=_name(each.uid), user=_name(user)) for each in foreign)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


SETTINGS = Check(
    "settings",
    "Whether there is an agent on this machine, and whether its agent.toml can be used.",
    (read_settings,),
    judge_settings,
    (GOOD, DEFAULTS, NOT_INSTALLED, BROKEN, NAMELESS, HIDDEN),
    alone=True,
)
FILES = Check(
    "files",
    "Whether the keys in the state folder are the agent's alone, and whether nobody but root can change agent.toml.",
    (read_files,),
    judge_files,
    (OWN, OPEN, LINK, FOREIGN, NOT_ROOTS, ONLY_ROOT),
)
