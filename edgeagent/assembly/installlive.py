"""The part of an installation that only a running machine has: enrolment, units that run, and the link."""

from __future__ import annotations

import filecmp
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from edgeagent import enrolled, status
from edgeagent.assembly.installsteps import Command, run
from edgeagent.assembly.rootpins import lacks, take_over
from edgeagent.enrolled import Enrolment
from edgeagent.enrolment import ClaimToken
from edgeagent.errors import EdgeError, Failed, Refused, Unreachable
from edgeagent.interpreter import argv
from edgeagent.settings import Settings
from edgeagent.status import Status

__all__ = [
    "AGENT",
    "LEAF",
    "Enrol",
    "Renamed",
    "RootsPins",
    "anew",
    "is_active",
    "leaf_anew",
    "running",
    "started",
    "until_linked",
]

AGENT, LEAF = "edgeagent.service", "edgeagent-leaf.service"
_LOOK_SECONDS = 0.2


class Enrol:
    """Make the machine a device of the token's hub, by `edgeagent enroll`, which goes on as the agent's user."""

    def __init__(self, own: Settings, hub: str, token: str, proxy: str, device_id: str) -> None:
        self._own, self._hub, self._token, self._proxy, self._id = own, hub, token, proxy, device_id
        self._wanted = ClaimToken.parse(token).hub
        self.what = f"enrolled with hub {self._wanted}"

    def is_done(self) -> bool:
        """Raises Refused when it is another hub's."""
        found = enrolled.read(self._own.state_folder)
        if found is not None and found.hub != self._wanted:
            why = f"it is enrolled as {found.id} with hub {found.hub}"
            raise Refused("enrol this device", why, "`sudo edgeagent enroll --force` gives that up for another hub")
        return found is not None

    def do(self) -> None:
        # By standard input, for everybody can read the words of a process.
        words = ["--hub", self._hub, "--id", self._id, "--token-file", "-", "--proxy-follows"]
        text = f"{self._token.strip()}\n{self._proxy}"
        done = subprocess.run(
            argv("edgeagent", "enroll", *words), input=text, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        if done.returncode != 0:
            *_, last = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            what, colon, why = last.removeprefix("edgeagent: cannot ").partition(": ")
            raise Failed(what, why) if colon else Failed("enrol this device", last)


class RootsPins:
    """Whom the device follows, kept once more by root, for upgrades."""

    what = "root knows who may upgrade it"

    def __init__(self, own: Settings) -> None:
        self._own = own

    def is_done(self) -> bool:
        return not lacks(self._own)

    def do(self) -> None:
        take_over(self._own)


def is_active(unit: str) -> bool:
    return _asked("is-active", "--quiet", unit).returncode == 0


def started(units: Iterable[str]) -> Command:
    """Start them, without waiting: the agent is started only when it has its leaf."""
    names = tuple(units)
    return Command(
        f"{', '.join(names)} run{'s' if len(names) == 1 else ''}",
        ("systemctl", "start", "--no-block", *names),
        lambda: all(map(is_active, names)),
    )


def anew() -> Command:
    """Start the agent again."""
    return Command(f"{AGENT} runs anew", ("systemctl", "restart", "--no-block", AGENT), lambda: False)


class Renamed:
    """End an agent, and its leaf, that ran under another name before the enrolment: nats-server takes up a new one at its start only.

    Without the old configuration the leaf waits for the new one.
    """

    what = f"{AGENT} and {LEAF} begin anew under the device's name"

    def __init__(self, own: Settings) -> None:
        self._conf = own.state_folder / "leaf.conf"

    def is_done(self) -> bool:
        return not self._conf.exists()

    def do(self) -> None:
        run(("systemctl", "stop", AGENT, LEAF), what=self.what)
        self._conf.unlink(missing_ok=True)


def running(own: Settings) -> Status | None:
    """What the agent that runs now says of itself; None when there is none."""
    try:
        found = status.read(own.status_file)
    except EdgeError:
        return None
    return found if status.is_running(found) else None


def leaf_anew() -> Command:
    """Restart a leaf whose program was replaced under it."""

    def done() -> bool:
        pid = _asked("show", "--property=MainPID", "--value", LEAF).stdout.strip()
        try:
            program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
            return pid in ("", "0") or filecmp.cmp(f"/proc/{pid}/exe", program, shallow=False)
        except OSError:
            return True  # it does not run

    return Command("the leaf runs the nats-server that is there", ("systemctl", "restart", LEAF), done)


def until_linked(own: Settings, seconds: float, say: Callable[[str], None], *, gone: int = 0) -> tuple[Status, Enrolment | None]:
    """Wait until the agent says that it is linked. say: told of each change. gone: the pid of one that is being ended.

    Raises Unreachable with what the agent, or its unit, says is wrong, when it is not within ``seconds``.
    """
    began, told = time.monotonic(), ""
    while True:
        found = running(own)
        found = found if found and found.pid != gone else None
        if found is not None and found.link.up:
            return found, enrolled.read(own.state_folder)
        now = _shown(found)
        if now != told:
            say(now)
            told = now
        if time.monotonic() - began > seconds:
            raise _not_linked(found, seconds)
        time.sleep(_LOOK_SECONDS)


def _shown(found: Status | None) -> str:
    if found is None:
        return "the agent starts"
    if found.leaf.state != "running":
        return f"the leaf is {found.leaf.state.replace('_', ' ')}"
    return f"{found.id} links"


def _not_linked(found: Status | None, seconds: float) -> EdgeError:
    what, after = "see the agent linked", f"after {seconds:g} s: "
    if found is None:
        said = _asked("show", "--property=SubState", "--value", AGENT).stdout.strip()
        *_, last = run(("journalctl", "--unit", AGENT, "--no-pager", "--lines=1", "--output=cat"), what=AGENT).splitlines() or [
            ""
        ]
        return Unreachable(what, f"{after}{AGENT} is {said or 'unknown'}: {last}", f"`journalctl -u {AGENT}` has more")
    for problem in found.problems:
        remedy = f"{problem.remedy}. " if problem.remedy else ""
        return Unreachable(what, f"{after}{problem.what}", f"{remedy}`sudo edgeagent doctor` looks for the cause")
    return Unreachable(
        what,
        f"it is not after {seconds:g} s",
        f"`sudo edgeagent doctor` looks for the cause, `journalctl -u {LEAF}` shows what the leaf tries",
    )


def _asked(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", *words], capture_output=True, text=True)
