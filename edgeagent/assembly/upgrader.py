"""``edgeagent-upgrade.service``: what root does when an upgrade was commanded, and after a power cut in the midst of one.

It takes from the agent nothing but bytes whose sha256 somebody signed whom this device follows, and from nobody else anything.
"""

from __future__ import annotations

import filecmp
import os
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from edgeagent import actions, files, status
from edgeagent import places as folders
from edgeagent.assembly.actionorders import trusted_settings
from edgeagent.builtin.actions.agent_upgrade import Upgrade
from edgeagent.command import entry_of
from edgeagent.errors import EdgeError, Refused, UsageProblem
from edgeagent.settings import Settings
from edgeagent.trust.signed import peek
from edgeagent.upgrade import authority, environment, manifest
from edgeagent.upgrade.authority import ACTION, Order
from edgeagent.upgrade.keeper import Keeper
from edgeagent.upgrade.manifest import Manifest, Wheel
from edgeagent.upgrade.places import Places, Trial, own_platform
from edgeagent.upgrade.spool import Spool
from edgeagent.upgrade.units import Units

__all__ = ["Machinery", "main", "prepared", "run"]


def main() -> None:
    problem: EdgeError | None = None
    try:
        own = trusted_settings()
    except EdgeError as error:  # a trial goes on all the same, and nothing new is begun
        own, problem = Settings(source=folders.SYSTEM_SETTINGS), error
    try:
        run(Places(), own, problem)
    except EdgeError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def run(places: Places, settings: Settings, problem: EdgeError | None = None) -> None:
    """Go on with the trial that there is, or begin the one that the agent asks for. Raises EdgeError when it has to be tried again.

    problem: why nothing new may be begun, for the settings can't be followed; None: they can.
    """
    limits = settings.upgrade
    services = Machinery(settings)
    keeper = Keeper(places, services, alive_seconds=limits.trial_seconds, link_seconds=limits.link_seconds, say=_say)
    trial = places.trial()
    if trial is not None and trial.phase == "preparing":  # the agent asks again
        places.forget_trial()
        trial = None
    if trial is None:
        trial = _begun(places, settings, keeper, problem)
    if trial is not None:
        end = keeper.go_on(trial)
        _say(f"{end.version} {end.state}{f': {end.why}' if end.why else ''}")


def _say(line: str) -> None:
    print(line, flush=True)


def _begun(places: Places, settings: Settings, keeper: Keeper, problem: EdgeError | None) -> Trial | None:
    """The trial of what the agent asks for; None when there is nothing to try. Why not is kept for the agent."""
    with Spool(settings.state_folder) as spool:
        request = spool.request()
        if request is None:
            return None
        trial = Trial(id=_claimed(request.signed), version="")
        try:
            if problem is not None:
                raise problem
            order = _ordered(places, request.signed.encode(), request.trust)
            trial = Trial(id=order.id, version=str(order.args.get("version", ""))[:64])
            places.keep(trial)
            return prepared(places, settings, spool, order, trial)
        except (EdgeError, OSError) as error:
            found = error if isinstance(error, EdgeError) else files.failure("make the environment", error)
            state = "refused" if isinstance(found, (Refused, UsageProblem)) else "failed"
            remedy = f" ({found.remedy})" if found.remedy else ""
            keeper.failed(trial, state, f"{found.why}{remedy}")
            _say(str(found))
            return None


def _claimed(envelope: str) -> str:
    """Which command it says that it is, so that the agent knows what the answer is to. Nothing else is made of it."""
    try:
        return entry_of(peek(envelope.encode()).body.encode()).id[:64]
    except EdgeError:
        return ""


def _ordered(places: Places, envelope: bytes, trust: str) -> Order:
    """Raises Refused unless it was signed for this device, by somebody who may, now, and has not ended yet: whoever has the agent may ask
    for the last one again, when a person has gone back from it by hand."""
    ours = authority.renewed(authority.load(places), trust) if trust else authority.load(places)
    order = authority.ordered(ours, envelope, time.time())
    if order.id == places.standing().done:
        raise Refused("upgrade", "it was carried out already")
    authority.keep(places, msgspec.structs.replace(ours, last=order.at))
    return order


def prepared(places: Places, settings: Settings, spool: Spool, order: Order, trial: Trial) -> Trial | None:
    """Make the environment; the trial that it is ready for. None when this device has all of it already. Raises EdgeError."""
    if why := actions.refusal(settings, ACTION, order.args):
        raise Refused("upgrade", why)
    args = msgspec.convert(order.args, Upgrade)
    release = manifest.parse(spool.manifest(args.sha256))
    if release.version != args.version:
        raise Refused("upgrade", f"the release is {release.version}, and {args.version} was signed")
    present, platform = places.current.resolve(), own_platform()
    if not release.wheels_for(platform):
        raise Refused("upgrade", f"the release has nothing for {platform}", "send it with wheels for that")
    lacking = release.lacking(platform, manifest.installed(present))
    target = _target(places, args, present)
    if lacking and not environment.is_whole(target, args.sha256):
        _make(places, spool, release, lacking, present, target, args.sha256)
    trial = msgspec.structs.replace(
        trial,
        phase="agent" if lacking else "done",
        to=_relative(places, target if lacking else present),
        before=_relative(places, present),
        was=manifest.installed(present).get(manifest.PROJECT, ""),
    )
    places.keep(trial)
    return trial


def _target(places: Places, args: Upgrade, present: Path) -> Path:
    """The folder of the version, or another where that is one that must stay as it is."""
    plain = places.releases / args.version
    taken = plain in (present, (places.folder / places.standing().kept).resolve()) and not environment.is_whole(
        plain, args.sha256
    )
    return places.releases / f"{args.version}-{args.sha256[:8]}" if taken else plain


def _relative(places: Places, folder: Path) -> str:
    return os.path.relpath(folder, places.folder.resolve())


def _make(places: Places, spool: Spool, release: Manifest, wheels: list[Wheel], present: Path, target: Path, sha256: str) -> None:
    with tempfile.TemporaryDirectory(dir=places.folder, prefix=".wheels-") as name:
        environment.check_room(places.folder, ())
        copies = [spool.copy(wheel, Path(name)) for wheel in wheels]
        environment.check_room(places.folder, copies)
        environment.make(present, target, release, wheels, Path(name), sha256, _say)


class Machinery(Units):
    """What the keeper asks of this machine. settings: of the agent, whose status it looks at."""

    def __init__(self, settings: Settings) -> None:
        self._status = settings.status_file

    def is_linked(self, pid: int, version: str) -> bool:
        found = _said(self._status)
        return found.pid == pid and found.version == version and found.link.up

    def servers_differ(self, one: Path, other: Path) -> bool:
        try:
            return not filecmp.cmp(one / "bin" / "nats-server", other / "bin" / "nats-server", shallow=False)
        except OSError:
            return False


class _Link(msgspec.Struct, frozen=True):
    up: bool = False


class _Status(msgspec.Struct, frozen=True):
    """What counts here of ``status.json``, whose other fields may be another version's."""

    pid: int = 0
    version: str = ""
    link: _Link = _Link()


def _said(path: Path) -> _Status:
    """What the agent says; nothing, where it says nothing that can be read. The folder is its user's."""
    try:
        return msgspec.json.decode(files.read_plain(path, status.MAX_BYTES), type=_Status)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Status()


if __name__ == "__main__":
    main()
