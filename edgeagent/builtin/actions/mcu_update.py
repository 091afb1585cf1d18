"""``mcu.update``: fetch a release of firmware that a person has uploaded, and have a microcontroller of the device take it.

What counts is the signed command: it names the sha256 of all of it. The microcontroller itself decides whether the new version stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from edgeagent import subjects
from edgeagent.actions import DAY, Context, Microcontrollers, Outcome, action, printable
from edgeagent.builtin.actions._partial import Partial
from edgeagent.builtin.actions._uploaded import FOLDER, Uploaded, fetch
from edgeagent.command import State
from edgeagent.errors import EdgeError, Failed, Refused, Unreachable, UsageProblem
from edgeagent.firmware.release import MAX_ARCHIVE_BYTES, Builds, unpack
from edgeagent.patterns.mcuupdate import Progress, Updated, update
from edgeagent.runtime import unless
from edgeagent.transfer import new_digest

__all__: list[str] = []

#: To fetch it, to send it over a slow wire, and three tries of a version that never proves itself.
TIMEOUT_SECONDS = 3600.0


class Update(Uploaded, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mcu: Annotated[
        str,
        Meta(description="The microcontroller's id.", pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z", extra={"form": subjects.ID_RULE}),
    ]
    version: Annotated[str, Meta(description="Its version, for people.", max_length=32)] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bytes > MAX_ARCHIVE_BYTES:
            raise ValueError(f"firmware has at most {MAX_ARCHIVE_BYTES:,} bytes, and not {self.bytes:,}")


@action(
    "mcu.update",
    arguments=Update,
    description="Bring a microcontroller on the device to the firmware that was uploaded for it.",
    default_expiry_seconds=7 * DAY,
    max_expiry_seconds=7 * DAY,
    timeout_seconds=TIMEOUT_SECONDS,
    idempotent=True,
    dangerous=True,
)
async def update_mcu(context: Context, args: Update) -> Outcome:
    mcus = context.mcus
    if mcus is None:
        return Outcome("refused", "this device has no microcontrollers: `edgeagent mcu add` on it makes one known")
    with contextlib.suppress(Unreachable):  # it may be back when all is fetched
        if (why := await _refused(mcus, args.mcu)) is not None:
            return Outcome("refused", why)
    builds = await _fetched(context, args)
    if builds is None:
        return Outcome("cancelled")
    done: list[Updated] = []
    try:
        if not await unless(context.cancelled, _update(context, mcus, args, builds, done)):
            return Outcome("cancelled", f"{args.mcu} runs what it ran before, or has begun to try the new version")
    except EdgeError as error:
        return _not_done(error)
    return Outcome("succeeded", value={"mcu": args.mcu, **done[0]._asdict()})


async def _refused(mcus: Microcontrollers, mcu_id: str) -> str | None:
    """Why it can't be updated, None if it can: nothing is fetched for one that is not there."""
    try:
        await mcus.command(mcu_id, "update.status", {}, seconds=15.0)
    except (Refused, UsageProblem) as error:
        return str(error)
    except Failed as error:
        return f"{mcu_id} takes no updates: {printable(error.why, 200)}"
    return None


def _not_done(error: EdgeError) -> Outcome:
    state: State = "timed_out" if isinstance(error, Unreachable) else "refused" if isinstance(error, UsageProblem) else "failed"
    remedy = f" ({error.remedy})" if error.remedy else ""
    return Outcome(state, printable(f"{error.why}{remedy}", 500))


async def _update(context: Context, mcus: Microcontrollers, args: Update, builds: Builds, done: list[Updated]) -> None:
    async def command(name: str, values: Mapping[str, Any], seconds: float) -> Any:
        return await mcus.command(args.mcu, name, values, seconds=seconds)

    done.append(await update(args.mcu, command, builds, functools.partial(_tell, context, [-1])))


def _tell(context: Context, told: list[int], progress: Progress) -> None:
    tenth = 11 if progress.stage == "trying" else progress.done * 10 // max(1, progress.size)
    if tenth > told[0]:
        told[0] = tenth
        words = f"sent {tenth * 10} %" if progress.stage == "sending" else "it runs the new version, which has to prove itself"
        context.write(f"{words}\n".encode())


# ---- what was uploaded ----


async def _fetched(context: Context, args: Update) -> Builds | None:
    """None when the command was cancelled. Raises Failed when it is not what was signed."""
    partial = Partial(context.settings.state_folder / FOLDER, args.upload)
    while True:
        kept = min(partial.begin(), args.pieces)
        try:
            if not await unless(context.cancelled, fetch(context, args, partial, kept, "fetched ")):
                return None
        except Failed:
            partial.remove()
            raise
        finally:
            partial.close()
        content = await asyncio.to_thread(_content, partial.path, args)
        partial.remove()
        if content is not None:
            return _of_version(unpack(content), args.version)
        if not kept:
            raise Failed("read the firmware", "what the hub has is not what was signed: its sha256 is another", "send it again")
        # What was kept over a power cut may be damaged: once more from the beginning.


def _content(path: Path, args: Update) -> bytes | None:
    content = path.read_bytes()[: args.bytes + 1]
    digest = new_digest()
    digest.update(content)
    return content if len(content) == args.bytes and digest.hexdigest() == args.sha256 else None


def _of_version(builds: Builds, version: str) -> Builds:
    found = next(iter(builds.values())).version
    if version not in ("", found):
        raise Failed("read the firmware", f"it is version {found}, and {version} was signed", "send it again")
    return builds
