"""``agent.upgrade``: fetch what a release of edgeagent has and this device has not, and have root bring the device to it.

What counts is the signed command: root checks its signature itself (:mod:`edgeagent.upgrade.authority`). The agent is started anew in the
midst of it, so the command runs a second time and asks what has become of the first.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from edgeagent.actions import DAY, Context, Outcome, action
from edgeagent.builtin.actions._partial import Partial
from edgeagent.builtin.actions._uploaded import FOLDER, Uploaded, fetch
from edgeagent.errors import EdgeError, Failed
from edgeagent.runtime import unless
from edgeagent.subjects import SIGNERS, TRUST_BUCKET, document
from edgeagent.upgrade import manifest
from edgeagent.upgrade.gather import Gathered, is_right
from edgeagent.upgrade.manifest import MAX_MANIFEST_BYTES, Manifest
from edgeagent.upgrade.places import OPT, Ended, Places, Request, own_platform

__all__ = ["Upgrade"]

#: To fetch all wheels over a slow link, to install them on a slow card, and the trial.
TIMEOUT_SECONDS = 4 * 3600.0
#: How long root may take to take the request, and how often it is looked at, in seconds.
TAKEN_SECONDS, LOOK_SECONDS = 60.0, 1.0
#: For the document of who may sign, in seconds.
TRUST_SECONDS = 10.0


class Upgrade(Uploaded, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """upload, pieces, bytes, sha256: of the release's manifest."""

    version: Annotated[
        str,
        Meta(
            description="The version of edgeagent.",
            pattern=r"^[0-9][A-Za-z0-9.+]{0,63}\Z",
            extra={"form": "a version such as 0.2.0"},
        ),
    ]
    allow_metered: Annotated[bool, Meta(description="Also where `agent.profile` is metered, and every byte costs.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bytes > MAX_MANIFEST_BYTES:
            raise ValueError(f"a manifest has at most {MAX_MANIFEST_BYTES:,} bytes, and not {self.bytes:,}")


def _recalled(context: Context, args: Upgrade, before_boot: str) -> Outcome | None:
    """What root has written down of it; None as long as that is nothing: then it waits once more."""
    places = Places(context.machine.path(str(OPT)))
    last = places.standing().last
    return _outcome(last, args) if last is not None and last.id == context.id and places.trial() is None else None


@action(
    "agent.upgrade",
    arguments=Upgrade,
    description="Bring edgeagent on the device to another version; one that does not prove itself there is gone back from.",
    default_expiry_seconds=7 * DAY,
    max_expiry_seconds=7 * DAY,
    timeout_seconds=TIMEOUT_SECONDS,
    idempotent=True,
    dangerous=True,
    signed=True,
    recover=_recalled,
)
async def upgrade(context: Context, args: Upgrade) -> Outcome:
    places = Places(context.machine.path(str(OPT)))
    if not places.are_there:
        why = "this edgeagent was not installed as a service of the machine, so nothing could go back to it"
        return Outcome("refused", f"{why} (`sudo edgeagent install`)")
    if not _is_known(places, context.id):
        refused = await _asked(context, args, places)
        if refused is not None:
            return refused
    outcome = await _ended(context, args, places)
    Gathered(context.settings.state_folder).keep_only(())
    return outcome


def _is_known(places: Places, command_id: str) -> bool:
    """Whether root has it, or has ended it: this is not its first run."""
    last, trial = places.standing().last, places.trial()
    return (last is not None and last.id == command_id) or (trial is not None and trial.id == command_id)


async def _asked(context: Context, args: Upgrade, places: Places) -> Outcome | None:
    """Have root begin; an outcome where it has not come to that."""
    if context.profile == "metered" and not args.allow_metered:
        return Outcome("refused", "the device is on a metered link (`agent.profile`): `--allow-metered` says that it may")
    gathered, found = Gathered(context.settings.state_folder), list[Manifest]()
    if not await unless(context.cancelled, _gather(context, args, gathered, found, places)):
        return Outcome("cancelled")
    if not found:
        return Outcome("succeeded", value={"version": args.version, "unchanged": True})
    gathered.ask(Request(signed=context.signed.decode(), trust=await _trust(context)))
    return await _taken(context, gathered, places)


async def _gather(context: Context, args: Upgrade, gathered: Gathered, found: list[Manifest], places: Places) -> None:
    """Fetch the manifest and the wheels that this device does not have. found: gets the manifest, unless all of it is here already."""
    path = gathered.manifest(args.sha256)
    await _fetched(context, args, path, "")
    release = manifest.parse(path.read_bytes())
    platform, present = own_platform(), manifest.installed(places.current.resolve())
    if not release.wheels_for(platform):
        raise Failed("upgrade", f"the release has nothing for {platform}", "send it with wheels for that")
    lacking = release.lacking(platform, present)
    gathered.keep_only([path, *(gathered.wheel(wheel.sha256) for wheel in lacking)])
    gathered.check_room(lacking)
    for wheel in lacking:
        what = Uploaded(upload=wheel.upload, pieces=wheel.pieces, bytes=wheel.bytes, sha256=wheel.sha256)
        context.write(f"fetches {wheel.file}, {wheel.bytes:,} bytes\n".encode())
        await _fetched(context, what, gathered.wheel(wheel.sha256), f"{wheel.name} ")
    if lacking:
        found.append(release)


async def _fetched(context: Context, what: Uploaded, target: Path, words: str) -> None:
    """Have it at ``target``. Raises Failed when it is not what was signed, or the hub does not have it."""
    while not await asyncio.to_thread(is_right, target, what.bytes, what.sha256):
        partial = Partial(context.settings.state_folder / FOLDER, what.upload)
        kept = min(partial.begin(), what.pieces)
        try:
            await fetch(context, what, partial, kept, words)
        except Failed:
            partial.remove()
            raise
        finally:
            partial.close()
        right = await asyncio.to_thread(is_right, partial.path, what.bytes, what.sha256)
        if right:
            partial.path.replace(target)
        elif not kept:
            partial.remove()
            raise Failed("fetch the release", "what the hub has is not what was signed: its sha256 is another", "send it again")
        else:  # what was kept over a power cut may be damaged: once more from the beginning
            partial.remove()


async def _trust(context: Context) -> str:
    """The newest document of who may sign; empty where there is none, or it can't be read now: root then follows whom it knows."""
    with contextlib.suppress(EdgeError):
        found = await context.read(f"KV_{TRUST_BUCKET}", document(SIGNERS), TRUST_SECONDS)
        return found.decode("utf-8", "replace") if found else ""
    return ""


async def _taken(context: Context, gathered: Gathered, places: Places) -> Outcome | None:
    """Wait until root has the request; an outcome when nobody takes it, or the command is cancelled first."""
    waited = 0.0
    while gathered.is_asked:
        if context.cancelled.is_set():
            gathered.withdraw()
            return Outcome("cancelled")
        if waited >= TAKEN_SECONDS:
            gathered.withdraw()
            remedy = "`sudo systemctl status edgeagent-upgrade.path` on the device; `sudo edgeagent install` brings it"
            return Outcome("failed", f"nobody on this device carries upgrades out ({remedy})")
        await asyncio.sleep(LOOK_SECONDS)
        waited += LOOK_SECONDS
    return None


async def _ended(context: Context, args: Upgrade, places: Places) -> Outcome:
    """Wait for the end that root writes down. Whether the command is cancelled makes no difference any more."""
    told, idle = "", 0.0
    while True:
        standing, trial = places.standing(), places.trial()
        if trial is None and standing.last is not None and standing.last.id == context.id:
            return _outcome(standing.last, args)
        phase = trial.phase if trial is not None and trial.id == context.id else ""
        if phase and phase != told:
            context.write(f"{args.version}: {phase}\n".encode())
        told, idle = phase or told, 0.0 if phase else idle + LOOK_SECONDS
        if idle >= TAKEN_SECONDS:
            return Outcome(
                "failed", "what carries upgrades out has ended without a word: `journalctl -u edgeagent-upgrade` on the device"
            )
        await asyncio.sleep(LOOK_SECONDS)


def _outcome(ended: Ended, args: Upgrade) -> Outcome:
    if ended.state == "succeeded":
        return Outcome("succeeded", value={"version": args.version, "unchanged": False})
    return Outcome(ended.state, ended.why)
