"""Keeps the status file true: one place gathers what the parts of the agent say of themselves."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from datetime import datetime, timezone

from msgspec.structs import replace

from edgeagent import __version__, servers, status
from edgeagent.assembly.linkproblems import expired, refused
from edgeagent.assembly.renewal import renew_at
from edgeagent.assembly.renewer import Renewer, known
from edgeagent.assembly.statusled import Light
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.leaf.linkfailures import LinkFailure, explain_last
from edgeagent.natsserver import logtail
from edgeagent.runtime import notify_systemd
from edgeagent.settings import Settings
from edgeagent.status import (
    UNACKNOWLEDGED,
    BrokerStatus,
    CommandsStatus,
    CredentialsStatus,
    ForwardStatus,
    LeafStatus,
    LinkStatus,
    McuStatus,
    Problem,
    SamplingStatus,
    Status,
)
from edgeagent.times import rfc3339
from edgeagent.wire import HubLink, LinkRepairs

__all__ = ["StatusKeeper"]

#: At most one write in so many seconds; it lies in memory (/run), but readers should not meet a storm.
QUIET_SECONDS = 0.2


def _now() -> str:
    return rfc3339(datetime.now(timezone.utc))


def _moment(unix_seconds: float | None) -> str:
    return "" if unix_seconds is None else rfc3339(datetime.fromtimestamp(unix_seconds, timezone.utc))


def _addresses(entry: str) -> str:
    return ", ".join(servers.split(entry))


class StatusKeeper:
    """Writes ``settings.status_file`` whenever something changed. show: called then with what an LED is to show."""

    def __init__(
        self, settings: Settings, device_id: str, groups: list[str], show: Callable[[Light], None] = lambda light: None
    ) -> None:
        self._show, self._has_begun = show, False
        self._settings, self._id, self._started = settings, device_id, _now()
        self._leaf = LeafStatus(mode=settings.leaf.mode, state="starting", wished_port=settings.leaf.port)
        self._leaf_problem: Problem | None = None
        self._renewing = False
        self._renewal_problem: Problem | None = None
        self._kept_out = False
        self._link = LinkStatus(up=False, hub=_addresses(next(iter(settings.hub.urls), "")), since=self._started)
        self._link_problem: Problem | None = self._unlinked()
        self._report_problem: Problem | None = None
        self._hub_problems: list[Problem] = []
        self._store_problems: list[Problem] = []
        self._pin_problems: list[Problem] = []
        self._answered = 0
        self._commands = CommandsStatus()
        self._look_at_commands: Callable[[], CommandsStatus] = CommandsStatus
        self._look_at_sampling: Callable[[], SamplingStatus | None] = lambda: None
        self._look_at_forwarding: Callable[[], dict[str, ForwardStatus]] = dict
        self._look_at_mcus: Callable[[], list[McuStatus]] = list
        self._look_at_ways: Callable[[], list[Problem]] = list
        self._look_at_brokers: Callable[[], dict[str, BrokerStatus]] = dict
        self._broker_problems: list[Problem] = []
        self._changed = asyncio.Event()
        self.groups = groups
        self._write()

    def begun(self) -> None:
        """The agent has started."""
        self._has_begun = True
        self._changed.set()

    def leaf_changed(self, leaf: LeafStatus, problem: Problem | None) -> None:
        self._leaf, self._leaf_problem = leaf, problem
        self._changed.set()

    def link_tried(self, error: EdgeError | None) -> None:
        """The hub acknowledged a heartbeat, or did not. Failed: it answered, so there is a link, but it would not keep it."""
        now = _now()
        up = error is None or isinstance(error, Failed)
        since = self._link.since if up == self._link.up else now
        acknowledged = self._link.acknowledged if error else now
        self._link = replace(self._link, up=up, since=since, acknowledged=acknowledged)
        self._link_problem = self._unlinked(error) if not up else refused("heartbeat", error) if error else None
        notify_systemd(f"STATUS={self._id}, {'linked' if up else 'not linked'} since {since}")
        self._changed.set()

    def hub_changed(self, link: HubLink) -> None:
        """The leaf is told to link elsewhere, or a hub that is wanted was given up."""
        self._link = replace(self._link, hub=_addresses(link.url))
        remedy = "`edgeagent config get`, where you work, shows who set it: is it right, and does that hub run?"
        self._hub_problems = [
            Problem(f"cannot link to the hub at {_addresses(entry)}: {why}", remedy) for entry, why in link.failed.items()
        ]
        self._changed.set()

    def renewal_changed(self, renewer: Renewer) -> None:
        """The agent begins or ends renewing its credentials, or could not."""
        error = renewer.problem
        self._renewing, self._kept_out = renewer.visiting, isinstance(error, Refused)
        self._renewal_problem = Problem(f"cannot {error.what}: {error.why}", error.remedy) if error else None
        if not self._link.up:
            self._link_problem = self._unlinked()
        self._changed.set()

    def report_tried(self, error: EdgeError | None) -> None:
        """The hub has this device's report, or will not keep it."""
        self._report_problem = refused("report", error) if error else None
        self._changed.set()

    def store_changed(self, problems: list[Problem]) -> None:
        """What is wrong with the store of samples and messages."""
        self._store_problems = problems
        self._changed.set()

    def pins_changed(self, problems: list[Problem]) -> None:
        """What is wrong with the pins."""
        self._pin_problems = problems
        self._changed.set()

    def link_lost(self) -> None:
        """The leaf's connection to the hub ended."""
        if self._link.up:
            self._link = replace(self._link, up=False, since=_now())
        self._link_problem = self._unlinked()
        self._changed.set()

    def link_repaired(self, repairs: LinkRepairs | None) -> None:
        """What was done about links that looked up and carried nothing, since the agent started."""
        self._link = replace(self._link, repairs=repairs or LinkRepairs())
        self._changed.set()

    def answered(self, state: str) -> None:
        self._answered += state != "refused"
        self._changed.set()

    def commands_changed(self, look: Callable[[], CommandsStatus]) -> None:
        """look: says how they are, when the file is next written. It may raise EdgeError: the last answer stays then."""
        self._look_at_commands = look
        self._changed.set()

    def sampling_changed(self, look: Callable[[], SamplingStatus]) -> None:
        """look: says how it is, when the file is next written."""
        self._look_at_sampling = look
        self._changed.set()

    def watch_forwarding(self, look: Callable[[], dict[str, ForwardStatus]]) -> None:
        """look: says how far it is, by stream, whenever the file is written."""
        self._look_at_forwarding = look

    def watch_mcus(self, look: Callable[[], list[McuStatus]], problems: Callable[[], list[Problem]]) -> None:
        """look, problems: say how the microcontrollers are, and what is wrong with the ways to them, whenever the file is written."""
        self._look_at_mcus, self._look_at_ways = look, problems

    def brokers_changed(self, look: Callable[[], dict[str, BrokerStatus]], problems: list[Problem]) -> None:
        """look: says how they are, when the file is next written. problems: what is wrong with them."""
        self._look_at_brokers, self._broker_problems = look, problems
        self._changed.set()

    def touch(self) -> None:
        """Something that is looked at is another now."""
        self._changed.set()

    async def keep(self) -> None:
        """Write what changes, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._write()
            await asyncio.sleep(QUIET_SECONDS)

    def close(self) -> None:
        """The agent ends: the file stays and says so by its process id."""
        with contextlib.suppress(OSError):
            self._write()

    def _unlinked(self, error: EdgeError | None = None) -> Problem:
        return replace(self._why_unlinked(error), about="link")

    def _why_unlinked(self, error: EdgeError | None) -> Problem:
        if not self._settings.hub.urls:
            return Problem("no hub is set: this device stays on its own", "set `hub.urls` in agent.toml and restart the agent")
        path = self._settings.credentials_file
        if not path.exists():
            return Problem(
                f"there are no credentials at {path}", "`edgeagent enroll` gets them, with a token of whoever runs the hub"
            )
        if self._renewing:
            return Problem("the hub accepts this device's credentials no longer, so it asks for new ones")
        if self._kept_out and self._renewal_problem:
            return self._renewal_problem
        found = self._leafs_word()
        why = found.why if found else error.why if error else ""
        remedy = found.remedy if found and found.remedy else "check the network and the hub"
        return expired(path) or Problem(
            f"{UNACKNOWLEDGED} ({self._link.hub})" + (f": {why}" if why else ""),
            f"{remedy}; the leaf's log: {self._leaf_log()}",
        )

    def _leafs_word(self) -> LinkFailure | None:
        """Why the leaf is not linked, where its log is certain of that."""
        if self._settings.leaf.mode == "external":
            return None
        found = explain_last(logtail.since(self._settings.state_folder / "leaf.log", 0))
        return found if found and found.kind != "silence" else None

    def _credentials(self) -> CredentialsStatus | None:
        """What is known of the credentials as they are now."""
        login, enrolment = known(self._settings.credentials_file), self._settings.enrolment
        if login is None and enrolment is None:
            return None
        return CredentialsStatus(
            hub=enrolment.hub if enrolment else "",
            enrolled_at=enrolment.enrolled_at if enrolment else "",
            expires=_moment(login.expires_at) if login else "",
            renews=_moment(renew_at(login)) if login else "",
            renewing=self._renewing,
        )

    def _leaf_log(self) -> str:
        if self._settings.leaf.mode == "external":
            return "`journalctl -u edgeagent-leaf`"
        return str(self._settings.state_folder / "leaf.log")

    def _light(self, problems: list[Problem]) -> Light:
        """What an LED is to show: a link that is merely away is no trouble, for it comes back without anybody."""
        if any(problem != self._link_problem for problem in problems) or self._kept_out or (self._link.up and problems):
            return Light.TROUBLE
        if not self._has_begun:
            return Light.STARTING
        return Light.LINKED if self._link.up else Light.UNLINKED

    def _problems(self) -> list[Problem]:
        found = (
            self._leaf_problem,
            *self._store_problems,
            *self._pin_problems,
            self._link_problem,
            self._renewal_problem,
            self._report_problem,
            *self._hub_problems,
            *self._look_at_ways(),
            *self._broker_problems,
        )
        known: dict[str, Problem] = {}
        for problem in filter(None, found):
            known.setdefault(problem.what, problem)
        return list(known.values())

    def _write(self) -> None:
        with contextlib.suppress(EdgeError):
            self._commands = self._look_at_commands()
        waiting = {"commands": self._commands.waiting, "results": self._commands.unreported}
        problems = self._problems()
        self._show(self._light(problems))
        status.write(
            self._settings.status_file,
            Status(
                id=self._id,
                version=__version__,
                pid=os.getpid(),
                started=self._started,
                written=_now(),
                leaf=self._leaf,
                link=self._link,
                credentials=self._credentials(),
                groups=self.groups,
                queries_answered=self._answered,
                waiting={what: count for what, count in waiting.items() if count},
                commands=self._commands,
                sampling=self._look_at_sampling(),
                mcus=self._look_at_mcus(),
                forward=self._look_at_forwarding(),
                brokers=self._look_at_brokers(),
                problems=problems,
            ),
        )
