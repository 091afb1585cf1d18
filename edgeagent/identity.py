"""Who this device is: its id, the suffix of this installation, and the boot.

**A copied SD card.** The id, the keys and the state folder are copied with it, so two boards speak as one device. The hub cannot
tell them apart by their credentials; but two leaf nodes of one server name evict each other without end. So the suffix is bound to
the board's serial number: on another board a new one is made, the copies no longer evict each other, and the agent can say so
(:attr:`Installation.moved_from`). It can't tell a copied card from one that was moved. The remedy for a copy is to enrol it again
under an id of its own.
"""

from __future__ import annotations

import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgeagent import files, subjects
from edgeagent.errors import Failed, UsageProblem
from edgeagent.machine import Machine

__all__ = ["Identity", "Installation", "boot_id", "device_id", "hostname", "identify", "load_or_create", "serial"]

#: Host names that an image comes with: thousands of devices have them.
NAMES_OF_IMAGES = frozenset({"", "raspberrypi", "localhost", "debian"})

INSTANCE_FILE = "instance"

_SERIAL_TAIL = 8
_ID_LENGTH = 63


@dataclass(frozen=True, kw_only=True)
class Installation:
    """This installation of the agent.

    suffix: random, made at the first boot; it makes the leaf's server name unique. serial: of the board on which it was made, empty
    if that has none. moved_from: the serial of the board that the file came from, when it was another one; None otherwise.
    """

    suffix: str
    serial: str = ""
    moved_from: str | None = None


@dataclass(frozen=True, kw_only=True)
class Identity:
    """id: the device's. boot: random id of this boot, empty if the kernel gives none."""

    id: str
    installation: Installation
    boot: str

    @property
    def server_name(self) -> str:
        """The leaf's name on NATS: no other leaf of the fleet may have it."""
        return f"{self.id}-{self.installation.suffix}"


def identify(machine: Machine, state_folder: Path, given: str = "") -> Identity:
    """Everything at once. given: ``device.id`` of the settings, empty = find one. Raises UsageProblem, and EdgeError as
    :func:`load_or_create`."""
    name = device_id(machine, given)
    return Identity(
        id=name, installation=load_or_create(state_folder / INSTANCE_FILE, serial(machine) or ""), boot=boot_id(machine)
    )


def hostname(machine: Machine) -> str | None:
    """The host name, None if it can't be read."""
    return machine.text("/proc/sys/kernel/hostname") or machine.text("/etc/hostname")


def serial(machine: Machine) -> str | None:
    """The board's serial number from the device tree, else from /proc/cpuinfo; None if it has none."""
    found = machine.text("/proc/device-tree/serial-number") or _cpuinfo_serial(machine.text("/proc/cpuinfo") or "")
    # A machine that does not know its number says so with zeros.
    return found if found and found.strip("0") else None


def _cpuinfo_serial(text: str) -> str | None:
    lines = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("Serial")]
    return lines[0] if lines else None


def boot_id(machine: Machine) -> str:
    """Random id of this boot of the machine; empty if the kernel gives none."""
    return machine.text("/proc/sys/kernel/random/boot_id") or ""


def device_id(machine: Machine, given: str = "") -> str:
    """``given`` if there is one; else the host name in lower case, made valid; else ``pi-`` and the last 8 of the serial number,
    which is also used for the host names that images come with. Raises UsageProblem when none of these gives an id.
    """
    if given:
        if not subjects.is_id(given):
            raise UsageProblem(
                f"use the device id {given!r}", f"it must be {subjects.ID_RULE}", "change `device.id` in agent.toml"
            )
        return given
    name = id_of_hostname(hostname(machine) or "")
    if name not in NAMES_OF_IMAGES:
        return name
    tail = _made_valid((serial(machine) or "")[-_SERIAL_TAIL:])
    if not tail:
        why = f"the host name {hostname(machine) or ''!r} is none of its own and the board has no serial number"
        raise UsageProblem("tell which device this is", why, "set `device.id` in agent.toml, or give the machine a host name")
    return f"pi-{tail}"


def id_of_hostname(name: str) -> str:
    """The host name as an id, empty if nothing valid is left: ``Shop_7.local`` becomes ``shop-7``."""
    return _made_valid(name.partition(".")[0])


def _made_valid(text: str) -> str:
    kept = "".join(letter if letter in "abcdefghijklmnopqrstuvwxyz0123456789-" else "-" for letter in text.strip().lower())
    return kept.strip("-")[:_ID_LENGTH].rstrip("-")


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    suffix: str
    serial: str = ""


def load_or_create(path: Path, board_serial: str = "") -> Installation:
    """The installation described in the file at ``path``; made, with a new suffix, when there is none, when it is damaged (a card
    that lost power), or when it was made on another board. The file is 0600; a file with other rights is set right.

    Raises EdgeError when the path is no plain file or can't be read or written.
    """
    stored = _load(path)
    if stored is not None and (not stored.serial or not board_serial or stored.serial == board_serial):
        return Installation(suffix=stored.suffix, serial=stored.serial)
    made = _Stored(suffix=secrets.token_hex(4), serial=board_serial)
    if not path.parent.is_dir():
        files.make_folder(path.parent, 0o700)
    files.write_atomic(path, msgspec.json.encode(made) + b"\n", 0o600)
    return Installation(suffix=made.suffix, serial=made.serial, moved_from=stored.serial if stored else None)


def _load(path: Path) -> _Stored | None:
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise Failed(f"read {path}", "it is no plain file", "remove it; the agent makes it again")
        if stat.S_IMODE(status.st_mode) != 0o600:
            path.chmod(0o600)
        stored = msgspec.json.decode(path.read_bytes(), type=_Stored)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    except OSError as error:
        raise files.failure(f"read {path}", error) from None
    return stored if subjects.is_id(stored.suffix) else None
