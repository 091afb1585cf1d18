"""`edgeagent install`: the steps carried out in order, each said; what is done already is left alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeagent import __version__, settings
from edgeagent.assembly import installlive as live
from edgeagent.assembly import natsrelease
from edgeagent.assembly.installplace import ENVIRONMENT, Place
from edgeagent.assembly.installplan import STARTED_BY, Planned, plan, unit_folder, wanted_units
from edgeagent.assembly.installsteps import Step
from edgeagent.assembly.natsrelease import NatsRelease
from edgeagent.enrolment import ClaimToken
from edgeagent.errors import EdgeError, Refused, UsageProblem
from edgeagent.identity import INSTANCE_FILE
from edgeagent.places import SYSTEM_SETTINGS
from edgeagent.upgrade.manifest import PROJECT, installed

__all__ = ["InstallOptions", "Installed", "State", "carry_out", "install"]

WHAT = "install edgeagent"
State = Literal["done", "changed", "would change"]
Tell = Callable[[str, State], None]


@dataclass(frozen=True, kw_only=True)
class InstallOptions:
    """hub, token, proxy, device_id: to enrol, as for `edgeagent enroll`; a token that is empty: do not. release: a nats-server to use.

    wait_seconds: how long the link may take.
    """

    hub: str = ""
    token: str = field(default="", repr=False)
    proxy: str = field(default="", repr=False)
    device_id: str = ""
    release: NatsRelease | None = None
    dry_run: bool = False
    wait_seconds: float = 90.0


@dataclass(kw_only=True)
class Installed:
    """steps: each as it was told. id, hub: the device's, empty unless it is enrolled. linked: None: nobody waited for it."""

    steps: list[tuple[str, State]] = field(default_factory=list)
    id: str = ""
    hub: str = ""
    linked: bool | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return any(state != "done" for _, state in self.steps)


def install(place: Place, options: InstallOptions, tell: Tell, say: Callable[[str], None]) -> Installed:
    """Install edgeagent at ``place``. tell: told of each step. say: told what is waited for.

    Raises EdgeError; a second try goes on with it.
    """
    _check(place, options)
    made = Installed(notes=_notes(place))

    def told(what: str, state: State) -> None:
        made.steps.append((what, state))
        tell(what, state)

    planned = plan(place, options.release)
    changed = carry_out(planned, told, dry_run=options.dry_run)
    if place.is_live:
        _run(options, made, told, say, reloaded=any(path.name == live.AGENT for path in _paths(changed)))
    return made


def carry_out(planned: Iterable[Planned], tell: Tell, *, dry_run: bool) -> list[Step]:
    """Do each step that is not done; those that were, or would be. Raises EdgeError."""
    changed: list[Step] = []
    for each in planned:
        if each.after and not any(step in changed for step in each.after):
            continue
        if each.step.is_done():
            tell(each.step.what, "done")
            continue
        if not dry_run:
            each.step.do()
        changed.append(each.step)
        tell(each.step.what, "would change" if dry_run else "changed")
    return changed


def _check(place: Place, options: InstallOptions) -> None:
    place.check()
    if options.token and not place.is_live:
        raise UsageProblem(
            WHAT,
            "a device is enrolled on itself, while systemd runs",
            "leave out the token; at its first boot: `edgeagent install --hub ...`",
        )
    if options.hub or options.token:
        ClaimToken.parse(options.token)  # before anything is changed
    natsrelease.check_settings(place, options.release)
    if os.geteuid() != 0 and not options.dry_run:
        raise Refused(WHAT, "only root may", "type sudo before it; --dry-run shows what it would do")


def _paths(steps: Iterable[Step]) -> list[Path]:
    return [path for step in steps if isinstance(path := getattr(step, "path", None), Path)]


def _notes(place: Place) -> list[str]:
    """What would be a surprise later."""
    notes = []
    for path in wanted_units():
        earlier = place.path(f"/etc/systemd/system/{path.name}")
        if earlier.is_file() and earlier.parent != unit_folder(place):
            notes.append(
                f"{earlier} goes before the one that belongs to this edgeagent; unless it is meant, `sudo rm {earlier}` and install again"
            )
    if place.is_image:
        names = (INSTANCE_FILE, "device.creds", "enrolment.json")
        if any(place.path(f"/var/lib/edgeagent/{name}").exists() for name in names):
            notes.append(
                f"{place.path('/var/lib/edgeagent')} has the identity of a device: every card of this image would be that one. Empty it"
            )
    return notes


def _run(options: InstallOptions, made: Installed, tell: Tell, say: Callable[[str], None], *, reloaded: bool) -> None:
    own = settings.load_own(SYSTEM_SETTINGS)
    fresh = False
    if options.token:
        enrol = live.Enrol(own, options.hub, options.token, options.proxy, options.device_id)
        fresh = bool(carry_out([Planned(enrol)], tell, dry_run=options.dry_run))
    elif not (own.hub.urls or _is_enrolled()):
        return
    before = live.running(own)
    there = installed(Path(ENVIRONMENT)).get(PROJECT, __version__)  # an upgrade from afar that is newer than we are stays
    ends = before is not None and (reloaded or before.version != there)
    begun: list[Step] = [live.Renamed(own)] if fresh else [live.leaf_anew(), *([live.anew()] if ends else [])]
    steps: list[Step] = [live.RootsPins(own), *begun]
    steps.append(live.started(path.name for path in wanted_units() if path.name not in STARTED_BY))
    carry_out([Planned(step) for step in steps], tell, dry_run=options.dry_run)
    if options.dry_run:
        return
    found, enrolment = live.until_linked(own, options.wait_seconds, say, gone=before.pid if before and (ends or fresh) else 0)
    made.linked, made.id, made.hub = True, found.id, enrolment.hub if enrolment else found.link.hub


def _is_enrolled() -> bool:
    try:
        return settings.load(SYSTEM_SETTINGS).enrolment is not None
    except EdgeError:
        return False
