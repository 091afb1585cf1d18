"""The firmware onto a board: MicroPython if it is wanted, then our files, then the proof that they run.

Every step can be repeated: a file is replaced whole, what is the same is left alone, and the manifest, by which a board knows that a slot
is whole, is written last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeagent.errors import Refused
from edgeagent.firmware import boards, bootsel, frozen, ownfiles
from edgeagent.firmware.boards import Board
from edgeagent.firmware.boardsettings import CA_FILE, MAX_BYTES, Login, settings_for, speaks_mqtt
from edgeagent.firmware.greeting import wait_for_hello
from edgeagent.firmware.release import Builds, Release, fitting
from edgeagent.firmware.repl import About, Repl
from edgeagent.firmware.uf2 import RP2040, RP2350, Uf2

__all__ = ["Flashed", "Wanted", "flash"]

OLDEST = [1, 25]
_SETTINGS = "/settings.json"
_SLOT, _SLOTS, _ACTIVE = "/a", "/slot.json", b'{"active":"a"}'
_MAIN, _LOADER, _KEPT_MAIN = "/main.py", "/loader.py", "/main.py.old"
_MANIFEST = f"{_SLOT}/manifest.json"
_BOOTLOADER = "import machine\nmachine.bootloader()"
#: Told how many bytes of how many are there, and what is done.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Wanted:
    """builds: of the release, of which the board gets what it reads. root: what stands beside the slots. uf2: MicroPython that is put on it first. volume: where it is mounted then; None: it is found. settings, login: see
    :func:`edgeagent.firmware.boardsettings.settings_for`. own: see :func:`edgeagent.firmware.ownfiles.read`."""

    builds: Builds
    root: dict[str, bytes]
    uf2: Uf2 | None = None
    volume: Path | None = None
    settings: dict[str, Any] | None = None
    login: Login | None = None
    own: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Flashed:
    """What became of one board. link: ``usb`` or ``mqtt``: the way by which it speaks from now on. written: names of files. same, in_image: how many
    it had already, as files or in its MicroPython. notes: what its owner should know."""

    port: str
    serial_number: str = ""
    board: str = ""
    micropython: str = ""
    version: str = ""
    link: str = ""
    written: list[str] = field(default_factory=list)
    same: int = 0
    in_image: int = 0
    notes: list[str] = field(default_factory=list)


def flash(board: Board, wanted: Wanted, progress: Progress, *, ports: boards.Ports | None = None) -> Flashed:
    """Raises EdgeError; then the board runs what it had, or can be flashed again."""
    if wanted.uf2:
        board = _put_micropython(board, wanted.uf2, wanted.volume, progress, ports)
    with Repl(board.port) as repl:
        about = repl.about()
        notes, release = _check(about), fitting(wanted.builds, about.bytecode)
        serial_number = board.serial_number or about.unique_id
        flashed = Flashed(board.port, serial_number, about.machine, about.version_text, release.version, notes=notes)
        on_board = repl.read(_SETTINGS, MAX_BYTES) if wanted.settings is None else None
        settings = settings_for(wanted.settings, wanted.login, on_board)
        by_mqtt = speaks_mqtt(settings or on_board)
        if settings and by_mqtt and not about.has_wifi:
            raise Refused("set the board up for MQTT", f"a {about.machine} has no Wi-Fi, or its MicroPython is not for it")
        flashed.link = "mqtt" if by_mqtt else "usb"
        in_slot = _lacking(repl, wanted, release)
        flashed.in_image = len(release.files) - len(in_slot)
        _put_files(repl, _plan(wanted, release, in_slot, settings), flashed, progress)
        progress("waiting for it", 0, 0)
        wait_for_hello(repl.soft_reset(), release.version, by_mqtt=by_mqtt, note=notes.append)
    return flashed


def _put_micropython(board: Board, uf2: Uf2, volume: Path | None, progress: Progress, ports: boards.Ports | None) -> Board:
    """Returns the board where it is then."""
    more: dict[str, Any] = {"ports": ports} if ports else {}
    known = boards.found(**more)

    def look() -> list[bootsel.Volume]:
        found = bootsel.look(volume) if volume else None
        return ([found] if found else []) if volume else bootsel.volumes()

    if board.port and board.is_there:
        if others := look():  # which of both would get it then?
            raise Refused(
                f"copy {uf2.name}",
                f"a board is in BOOTSEL mode already, at {others[0].path}, and it is not the one at {board.port}",
                f"unplug it, or flash it first: leave out --port, and say --volume {others[0].path}",
            )
        with Repl(board.port) as repl:
            chip = _chip(repl.about())
            if chip != uf2.chip:
                raise Refused(
                    f"copy {uf2.name}", f"it is for the {uf2.chip}, and this board is an {chip}", "take the file for that board"
                )
            repl.leave(_BOOTLOADER)
        progress("waiting for BOOTSEL", 0, 0)
    there = bootsel.wait_for_volume(uf2, look)
    bootsel.copy(uf2, there, lambda done: progress("MicroPython", done, len(uf2.data)))
    progress("waiting for MicroPython", 0, 0)
    return boards.wait_for_return(board, **more) if board.port else boards.wait_for_another(known, **more)


def _chip(about: About) -> str:
    return RP2350 if RP2350 in about.machine else RP2040 if RP2040 in about.machine else about.machine or "unknown board"


def _check(about: About) -> list[str]:
    """What should be said of it. Raises Refused when the firmware can't run there."""
    chip, what = _chip(about), "flash this board"
    if about.name != "micropython" or chip not in (RP2040, RP2350):
        raise Refused(
            what, f"it is a {about.machine or about.name} with {about.name}", "the firmware is for MicroPython on the RP2040"
        )
    if about.version[:2] < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        why = f"it has MicroPython {about.version_text}, and the firmware needs {oldest} or newer"
        raise Refused(what, why, "name a newer one with --uf2: https://micropython.org/download/?mcu=rp2040")
    return [f"the {RP2350} is untested"] if chip == RP2350 else []


def _lacking(repl: Repl, wanted: Wanted, release: Release) -> Mapping[str, bytes]:
    """The files of the release that have to be in the slot: all but what its MicroPython has, if its loader will know that."""
    return frozen.not_in(repl.image(), release.files) if frozen.knows_images(wanted.root["loader.py"]) else release.files


def _put_files(repl: Repl, files: dict[str, bytes], flashed: Flashed, progress: Progress) -> None:
    have = repl.hashes(list(files))
    changed = {path for path, data in files.items() if have[path] != hashlib.sha256(data).hexdigest()}
    if _is_same_slot(repl.read(_SLOTS, MAX_BYTES)):
        changed.discard(_SLOTS)
    _keep_program(repl, have, flashed)
    stale = [path for path in repl.files(_SLOT) if path not in files]  # a name.py would hide a name.mpy, and both what is frozen
    if stale or any(path.startswith(f"{_SLOT}/") for path in changed):
        stale += [_MANIFEST] if have[_MANIFEST] else []  # until the slot is whole again it is no release
        changed.add(_MANIFEST)
    if any(path.startswith(f"{ownfiles.LIB}/") for path in files):
        stale += ownfiles.hiding(files, repl.files(ownfiles.LIB))
    repl.remove(stale)
    _write(repl, {path: data for path, data in files.items() if path in changed}, progress)
    flashed.written, flashed.same = [path.lstrip("/") for path in files if path in changed], len(files) - len(changed)


def _keep_program(repl: Repl, have: dict[str, str], flashed: Flashed) -> None:
    """Somebody's own program, on a board that never had ours, is not destroyed: maybe it is the wrong board."""
    if have.get(_MAIN) and not have.get(_LOADER):
        repl.run(f"import os\nos.rename({_MAIN!r}, {_KEPT_MAIN!r})")
        flashed.notes.append(f"it had a program of its own, which is kept on it as {_KEPT_MAIN}")


def _is_same_slot(text: bytes | None) -> bool:
    """Written by the board it has blanks, and whatever an update left there."""
    try:
        return text is not None and json.loads(text) == json.loads(_ACTIVE)
    except ValueError:
        return False


def _write(repl: Repl, files: dict[str, bytes], progress: Progress) -> None:
    total, before = sum(map(len, files.values())), 0
    for path, data in files.items():
        at = before  # of this file, for what is told while it is written
        repl.write(path, data, lambda done, path=path, at=at: progress(path.lstrip("/"), at + done, total))  # type: ignore[misc]  # mypy infers no lambda with defaults
        before += len(data)


def _plan(wanted: Wanted, release: Release, in_slot: Mapping[str, bytes], settings: bytes | None) -> dict[str, bytes]:
    """Paths on the board and their contents, in the order in which they are written."""
    files = {f"{_SLOT}/{name}": data for name, data in in_slot.items()}
    files |= {f"/{name}": data for name, data in wanted.root.items()} | wanted.own
    if wanted.login and wanted.login.ca:
        files[f"/{CA_FILE}"] = wanted.login.ca
    if settings is not None:
        files[_SETTINGS] = settings
    return {**files, _MANIFEST: release.manifest, _SLOTS: _ACTIVE}
