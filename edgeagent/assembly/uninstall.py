"""`edgeagent uninstall`: what was installed is stopped and removed. Identity, settings and unsent data stay, unless all is to go."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from edgeagent import files, places
from edgeagent.assembly import natsrelease, shipped
from edgeagent.assembly.enrolfiles import AGENT_USER
from edgeagent.assembly.installplace import BASE, Place
from edgeagent.assembly.installplan import LINKED_FROM, placed, wanted_units
from edgeagent.assembly.installsteps import run
from edgeagent.errors import Refused, UsageProblem
from edgeagent.patterns.unitrequests import FOLDER, SOCKET

__all__ = ["check", "kept", "uninstall"]

WHAT = "uninstall edgeagent"
_WANTS = "/etc/systemd/system"
#: What commands have begun, and what was asked of the helper for them: units of nobody's folder, which would outlive the agent.
ACTIONS = "edgeagent-action*.service"


def check(place: Place, *, purge: bool) -> None:
    """Raise UsageProblem where the package manager does that, Refused where we may not."""
    if place.is_packaged:
        word = "purge" if purge else "remove"
        raise UsageProblem(WHAT, "it was installed as a Debian package", f"`sudo apt {word} edgeagent`")
    if os.geteuid() != 0:
        raise Refused(WHAT, "only root may", "type sudo before it")


def kept(place: Place) -> list[Path]:
    """What only a purge removes, as far as it is there: settings, and identity with what was not sent yet."""
    found = (place.path(str(places.SYSTEM_SETTINGS.parent)), place.path(str(places.SYSTEM_STATE)))
    return [path for path in found if path.exists()]


def uninstall(place: Place, tell: Callable[[str], None], *, purge: bool) -> None:
    """Do it. tell: told of each thing that is removed. Raises EdgeError; a second try goes on with it."""
    check(place, purge=purge)
    names = [path.name for path in wanted_units()]
    there = [name for name in names if any(_unit_links(place, name))]
    if there:
        if place.is_live:
            # What it started goes on until its end otherwise, and a socket would start it again.
            run(("systemctl", "disable", "--now", *there), what="the end of edgeagent's services")
        else:
            run(
                ("systemctl", *([f"--root={place.root}"] if place.is_image else []), "disable", *there),
                what="edgeagent's services",
            )
        tell(f"stopped  {', '.join(there)}")
    if place.is_live and not _is_action():
        run(("systemctl", "stop", ACTIONS), what="the end of its actions")
        _remove_folder(Path(FOLDER), tell)
    gone = [*placed(place), place.path(natsrelease.DROP_IN), place.path(natsrelease.TARGET)]
    for path in gone:
        _remove_file(path, tell)
    if place.is_live:
        run(("systemctl", "daemon-reload"), what="systemd's units")
        _remove_file(Path(SOCKET), tell)  # systemd leaves it
        _remove_folder(places.runtime_folder(True), tell)
    link = place.path(LINKED_FROM)
    if link.is_symlink() and str(link.readlink()).startswith(f"{BASE}/"):
        _remove_file(link, tell)
    if purge:
        for path in kept(place):
            _remove_folder(path, tell)
        _remove_user(place, tell)
    if not any(place.path(f"{_WANTS}/multi-user.target.wants/{unit}").is_symlink() for unit in shipped.HUB_UNITS):
        _remove_folder(place.path(BASE), tell)  # last, for it is what runs


def _is_action() -> bool:
    """Whether a command from afar had this very thing done: its unit has to go on to the end."""
    return "/edgeagent-action-" in files.read_text(Path("/proc/self/cgroup"))


def _unit_links(place: Place, name: str) -> list[Path]:
    return [folder / name for folder in place.path(_WANTS).glob("*.wants") if (folder / name).is_symlink()]


def _remove_file(path: Path, tell: Callable[[str], None]) -> None:
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise files.failure(f"remove {path}", error) from None
    if path.parent.name.startswith("edgeagent") and not any(path.parent.iterdir()):
        path.parent.rmdir()
    tell(f"removed  {path}")


def _remove_folder(path: Path, tell: Callable[[str], None]) -> None:
    if not path.is_dir() or path.is_symlink():
        return
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise files.failure(f"remove {path}", error) from None
    tell(f"removed  {path}")


def _remove_user(place: Place, tell: Callable[[str], None]) -> None:
    root = [f"--root={place.root}"] if place.is_image else []
    done = subprocess.run(["/usr/sbin/userdel", *root, AGENT_USER], capture_output=True, text=True)
    if done.returncode == 0:
        tell(f"removed  the user {AGENT_USER}")
