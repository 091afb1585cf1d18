"""Has a microcontroller take a release and try it: sends what it does not have, goes on where a cut left off, and waits for how it ends.

It ends when the new version has proved itself on the board, or the board has gone back to the one before. Whatever happens in
between, the board runs a whole version: see firmware/loader.py.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple

from edgeagent.errors import EdgeError, Failed, Refused, Unreachable
from edgeagent.firmware.release import Builds, Release, fitting

__all__ = ["Command", "Progress", "Updated", "update"]

#: Bytes in one message: with what is around it that fits a frame of 1,024.
PIECE_BYTES = 512
#: How long one command may take, in seconds: a board erases flash, and a frame may have to be sent again.
COMMAND_SECONDS = 15.0
#: How long a board may be away while it is sent to, and while it tries the new version (three times five minutes), in seconds.
AWAY_SECONDS, TRIAL_SECONDS = 120.0, 1200.0
#: How often it is asked how it is, in seconds.
PAUSE_SECONDS = 2.0
#: How often it is begun again after a refusal: in a row without another byte, and in all.
TRIES, MAX_TRIES = 3, 20
#: A word of why a board begins no update (firmware/app/update.py), and what helps: readings that are acknowledged leave its flash.
_NO_ROOM = "no room"
_ROOM = (
    "readings that it keeps leave first, as the agent takes them: do it again in some minutes. If it stays so, lower kept_readings in its"
    " settings, or remove files of yours (`mpremote fs rm`)"
)
#: The characters of a version.
MAX_VERSION = 32

#: Has it do an action: (name, arguments, seconds) -> what it answers. Raises as :meth:`Mcus.command <edgeagent.patterns.mcus.Mcus.command>`.
Command = Callable[[str, Mapping[str, Any], float], Awaitable[Any]]


class Progress(NamedTuple):
    """sending: ``done`` of ``size`` bytes are there. trying: all are, and the board runs the new version and watches itself."""

    stage: Literal["sending", "trying"]
    done: int
    size: int


class Updated(NamedTuple):
    """version: which it runs, and has proved itself. before: which it ran. sent: bytes that it did not have. unchanged: it ran that
    very release already."""

    version: str
    before: str
    sent: int
    unchanged: bool


def _nobody(progress: Progress) -> None:
    pass


async def update(
    mcu_id: str,
    command: Command,
    builds: Builds,
    progress: Callable[[Progress], None] = _nobody,
    *,
    pause: float | None = None,
    away: float = AWAY_SECONDS,
    trial: float = TRIAL_SECONDS,
) -> Updated:
    """Bring it to the version of ``builds``. pause: between questions, None: :data:`PAUSE_SECONDS`; away, trial: how long it may be away in each stage; seconds.

    Raises Failed when it refuses, or went back to the version before; Refused, Unreachable when it is not there. It can be done again
    at any time, and goes on where it was.
    """
    between = PAUSE_SECONDS if pause is None else pause
    return await _Updating(mcu_id, command, builds, progress, between, away, trial).run()


class _Updating:
    def __init__(
        self,
        mcu_id: str,
        command: Command,
        builds: Builds,
        progress: Callable[[Progress], None],
        pause: float,
        away: float,
        trial: float,
    ) -> None:
        self._id, self._command, self._builds, self._progress = mcu_id, command, builds, progress
        self._pause, self._away, self._trial = pause, away, trial
        self._what = f"update {mcu_id}"
        self._sent = 0

    async def run(self) -> Updated:
        found = _said(self._what, await self._command("update.status", {}, COMMAND_SECONDS))
        release = fitting(self._builds, str(found.get("mpy", "")))
        before, slot = str(found.get("version", ""))[:MAX_VERSION], found.get("slot")
        if found.get("manifest") == release.sha256:
            await self._proved(release, slot)
            return Updated(release.version, before, 0, True)
        slot = await self._through(release)
        await self._proved(release, slot)
        return Updated(release.version, before, self._sent, False)

    # ---- sending ----

    async def _through(self, release: Release) -> Any:
        """Send it; the slot that it will run from."""
        failures = 0
        for tries in itertools.count(1):
            sent = self._sent
            await self._begin(release)
            try:
                return await self._send(release)
            except Failed:
                found = await self._ask("update.status", {})
                if found.get("pending"):  # only the answer to the end got lost
                    return found["pending"]
                if found.get("manifest") == release.sha256:  # and it has proved itself since
                    return found.get("slot")
                failures = 1 if self._sent > sent else failures + 1
                if failures == TRIES or tries == MAX_TRIES:
                    raise
                await asyncio.sleep(self._pause)  # it was reset, or a file was damaged: it says what it has
        raise AssertionError("unreachable")

    async def _begin(self, release: Release) -> None:
        """What it refuses here it would refuse again at once."""
        try:
            await self._ask("update.begin", _announced(release))
        except Failed as error:
            raise Failed(self._what, error.why, _ROOM if _NO_ROOM in error.why else error.remedy) from None

    async def _send(self, release: Release) -> Any:
        done = 0
        for name, data in sorted(release.files.items()):
            self._progress(Progress("sending", done, release.size))
            await self._send_file(name, data, done, release.size)
            done += len(data)
        self._progress(Progress("sending", release.size, release.size))
        return (await self._ask("update.end", {"sha256": release.sha256})).get("pending")

    async def _send_file(self, name: str, data: bytes, done: int, size: int) -> None:
        answer = await self._ask("update.file", {"name": name, "bytes": len(data), "sha256": _sha256(data)})
        at = len(data) if answer.get("have") else self._at(answer, name, 0, len(data))
        while at < len(data):
            piece = data[at : at + PIECE_BYTES]
            answer = await self._ask("update.data", {"at": at, "d": base64.b64encode(piece).decode()})
            at = self._at(answer, name, at + len(piece), len(data))
            self._sent += len(piece)
            self._progress(Progress("sending", done + at, size))

    def _at(self, answer: Mapping[str, Any], name: str, least: int, most: int) -> int:
        """How much of the file it has. A board that answers nonsense must not keep us for ever."""
        at = answer.get("at")
        if not isinstance(at, int) or not least <= at <= most:
            raise Failed(self._what, f"it answers that it has {str(at)[:20]} bytes of {name}, which has {most}")
        return at

    # ---- trying ----

    async def _proved(self, release: Release, slot: Any) -> None:
        """Return when the version in the slot has proved itself. Raises Failed when it did not."""
        clock = asyncio.get_running_loop().time
        until = clock() + self._trial
        while True:
            found = await self._ask("update.status", {}, away=self._trial)
            if found.get("pending"):
                self._progress(Progress("trying", release.size, release.size))
            else:
                if found.get("slot") == slot and found.get("manifest", release.sha256) == release.sha256:
                    return
                raise self._went_back(release, found)
            if clock() > until:
                remedy = f"it goes back by itself if it has to: `edgeagent mcu show {self._id}` says how it is"
                raise Unreachable(self._what, f"version {release.version} is there, and still has to prove itself", remedy)
            await asyncio.sleep(self._pause)

    def _went_back(self, release: Release, found: Mapping[str, Any]) -> Failed:
        now = str(found.get("version", ""))[:MAX_VERSION]
        why = f"version {release.version} did not prove itself, and it runs {now} again"
        return Failed(self._what, why, f"`edgeagent mcu logs {self._id}` has what it printed")

    # ---- asking ----

    async def _ask(self, action: str, args: Mapping[str, Any], *, away: float = 0.0) -> Mapping[str, Any]:
        """Until it answers: whatever is asked here does no harm when it is done twice. It may be away so long, in seconds."""
        clock = asyncio.get_running_loop().time
        until = clock() + (away or self._away)
        while True:
            try:
                return _said(self._what, await self._command(action, args, COMMAND_SECONDS))
            except (Refused, Unreachable) as error:
                if clock() > until:
                    raise _gone(self._what, error) from None
            await asyncio.sleep(self._pause)


def _gone(what: str, error: EdgeError) -> Unreachable:
    return Unreachable(what, f"it is gone: {error.why}", "once it is back, do it again: it goes on where it was")


def _said(what: str, answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping):
        raise Failed(what, "its answer makes no sense", "is it a board with edgeagent's firmware?")
    return answer


def _announced(release: Release) -> dict[str, Any]:
    return {"version": release.version, "files": len(release.files), "bytes": release.size, "sha256": release.sha256}


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()
