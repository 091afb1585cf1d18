"""How the SD card or disk with the state folder is, as far as the kernel tells.

SCSI's and USB's ``ioerr_cnt`` is not asked: it counts what a healthy disk declines, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from edgeagent.assembly.findings import Finding
from edgeagent.builtin import _block
from edgeagent.doctor.check import Case, Check, Patient
from edgeagent.doctor.disk import read_mounts
from edgeagent.machine import Machine
from edgeagent.times import duration

__all__ = ["CARD", "Card", "judge", "read", "transfer_errors"]

#: Tenths of its life that a memory has begun to use: 0x01 is 0 to 10 %, 0x0B is over (JEDEC eMMC 5.0, EXT_CSD 267 to 269).
OLD, OVER = 0x09, 0x0B
#: Its spare blocks: 2: 80 % are used; 3: urgent.
FEW, NONE = 2, 3

_REPLACE = 'copy what you need, and replace it; a card of a known maker, "high endurance" or "industrial", lasts longer'

GOOD = Case("good", "{disk} ({kind}): nothing is known against it")
WORN = Case("wrong", "{disk} is worn out: {how}", _REPLACE)
WEARING = Case(
    "warn",
    "{disk} wears out: {how}",
    "plan to replace it; `leaf.sync_seconds` and `sampling.interval_seconds` say how often is written",
)
DAMAGED = Case(
    "wrong",
    "the file system on {device} has met {count} errors{last}",
    "`sudo dmesg | grep -i ext4` tells more. Copy what you need, have it checked at the next boot (`fsck.mode=force fsck.repair=yes` in "
    "/boot/firmware/cmdline.txt), and replace the card if it happens again",
    "ext4 keeps count of the errors that it met, over reboots, until a file system check finds it clean.",
)
GARBLED = Case(
    "warn",
    "{count} transfers from or to {disk} failed since boot",
    "seat the card again, and see that the power supply is strong enough; a card that goes on so has to be replaced",
    "The kernel tries again, so nothing is lost yet. Only root can see it, and only where the kernel counts (debugfs).",
)

#: Where raspi-config's overlay keeps the card.
_LOWER = ("/media/root-ro", "/lower")
_DATA_ERRORS = re.compile(r"^# Data (?:CRC|Timeout)[^:]*:\s*(\d+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Card:
    """life: the worse of its memories', see :data:`OVER`; 0: not told. reserve: see :data:`FEW`; 0: not told. errors: that ext4 met on
    ``device``, the last at ``last_error`` (Unix seconds, 0: not known). garbled: transfers that failed since boot.
    """

    now: float
    disk: str
    kind: str
    device: str = ""
    life: int = 0
    reserve: int = 0
    errors: int = 0
    last_error: int = 0
    garbled: int = 0


def read(patient: Patient) -> Card | None:
    """None where there is no disk behind the state folder, or the kernel does not show it."""
    found = read_mounts(patient)
    home = found.home
    if home is not None and home.kind == "overlay":
        home = next((each for each in found.mounts if each.point in _LOWER), home)
    machine = patient.machine
    disk = _block.find(machine, home.device, home.source) if home else None
    if home is None or disk is None:
        return None
    device = home.source.rpartition("/")[2]
    memory, ext4 = f"/sys/class/block/{disk.device}/device", f"/sys/fs/ext4/{device}"
    return Card(
        now=patient.now(),
        disk=disk.device,
        kind=disk.kind,
        device=device,
        life=max((int(word, 16) for word in (machine.text(f"{memory}/life_time") or "").split()), default=0),
        reserve=machine.integer(f"{memory}/pre_eol_info", 16) or 0,
        errors=machine.integer(f"{ext4}/errors_count") or 0,
        last_error=machine.integer(f"{ext4}/last_error_time") or 0,
        garbled=_garbled(machine, disk.device),
    )


def _garbled(machine: Machine, disk: str) -> int:
    """``mmcblk0`` is on the host ``mmc0``, whose counts are in debugfs (drivers/mmc/core/debugfs.c)."""
    host = disk.removeprefix("mmcblk")
    return transfer_errors(machine.text(f"/sys/kernel/debug/mmc{host}/err_stats") or "") if host.isdecimal() else 0


def transfer_errors(text: str) -> int:
    """Transfers of data that failed, by ``err_stats``. Commands that time out are not among them: every card that is looked for has some."""
    return sum(int(count) for count in _DATA_ERRORS.findall(text))


def judge(card: Card | None) -> Iterator[Finding]:
    if card is None:
        return
    worries = [*_wear(card)]
    if card.errors:
        last = f", the last {duration(card.now - card.last_error)} ago" if 0 < card.last_error <= card.now else ""
        worries.append(DAMAGED(device=card.device, count=card.errors, last=last))
    if card.garbled:
        worries.append(GARBLED(disk=card.disk, count=card.garbled))
    yield from worries or [GOOD(disk=card.disk, kind=card.kind)]


def _wear(card: Card) -> Iterator[Finding]:
    how = []
    if card.life >= OLD:
        how.append(
            "its life as its maker reckons it is over" if card.life >= OVER else f"{(card.life - 1) * 10} % of its life are used"
        )
    if card.reserve >= FEW:
        how.append("its spare blocks are used up" if card.reserve >= NONE else "80 % of its spare blocks are used")
    if how:
        over = card.life >= OVER or card.reserve >= NONE
        yield (WORN if over else WEARING)(disk=card.disk, how=", ".join(how))


CARD = Check(
    "card",
    "The health of the SD card or disk with the state folder, where the kernel tells: how worn an eMMC is (SD cards do not say), errors that "
    "ext4 met, and, for root, transfers that failed.",
    (read,),
    judge,
    (GOOD, WORN, WEARING, DAMAGED, GARBLED),
)
