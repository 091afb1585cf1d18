"""Whether a UF2 file is whole, and for which chip it is. Pure. The format: https://github.com/microsoft/uf2"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from edgeagent.errors import UsageProblem

__all__ = ["BLOCK", "RP2040", "RP2350", "Uf2", "parse"]

RP2040, RP2350 = "RP2040", "RP2350"
#: Of each block, in bytes; how much of it can be data.
BLOCK, _MOST_DATA = 512, 476
_MAGIC = (0x0A324655, 0x9E5D5157, 0x0AB16F30)
_HAS_FAMILY, _NOT_FLASH = 0x2000, 0x0001
_CHIPS = {0xE48BFF56: RP2040, 0xE48BFF57: RP2350, 0xE48BFF59: RP2350, 0xE48BFF5A: RP2350, 0xE48BFF5B: RP2350}
#: Blocks of this family stand for themselves: the first of an RP2350's file, for an erratum of the chip.
_ABSOLUTE = 0xE48BFF57
#: Where flash is in the address space.
_FLASH = range(0x10000000, 0x12000000)
#: Files are read whole; the largest flash on such boards is 16 MiB, twice that as UF2.
MAX_BYTES = 32 << 20


@dataclass(frozen=True)
class Uf2:
    """name: of its file, for people. chip: RP2040 or RP2350. data: all of the file."""

    name: str
    chip: str
    data: bytes


def parse(name: str, data: bytes) -> Uf2:
    """Raises UsageProblem, which says what is wrong with it."""
    if not data or len(data) % BLOCK or len(data) > MAX_BYTES:
        raise _problem(
            name, f"a UF2 file is blocks of {BLOCK} bytes, {MAX_BYTES >> 20} MiB at most, and it has {len(data)} bytes"
        )
    counted: dict[int, list[tuple[int, int]]] = {}
    for at in range(0, len(data), BLOCK):
        family, number, of = _block(name, data[at : at + BLOCK], at // BLOCK)
        counted.setdefault(family, []).append((number, of))
    chips = {_CHIPS[family] for family in counted}
    if len(chips) != 1:
        raise _problem(name, f"it is for several chips: {', '.join(sorted(chips))}")
    for family, blocks in counted.items():
        if family != _ABSOLUTE and [number for number, _ in blocks] != list(range(len(blocks))):
            raise _problem(name, "its blocks are not numbered one after another")
        if family != _ABSOLUTE and {of for _, of in blocks} != {len(blocks)}:
            raise _problem(name, f"it has {len(blocks)} blocks, and says that it has {blocks[0][1]}: it is not whole")
    return Uf2(name, chips.pop(), data)


def _block(name: str, block: bytes, at: int) -> tuple[int, int, int]:
    """Its family, its number, and of how many it is."""
    first, second, flags, address, size, number, of, family = struct.unpack_from("<8I", block)
    if (first, second, struct.unpack_from("<I", block, BLOCK - 4)[0]) != _MAGIC:
        raise _problem(name, "it is no UF2 file" if not at else f"its block {at} is damaged")
    if not flags & _HAS_FAMILY or flags & _NOT_FLASH or family not in _CHIPS:
        raise _problem(name, f"its block {at} is for no chip of Raspberry Pi (family {family:#010x})")
    if not 0 < size <= _MOST_DATA or address not in _FLASH:
        raise _problem(name, f"its block {at} has {size} bytes for the address {address:#010x}, which is not in flash")
    return family, number, of


def _problem(name: str, why: str) -> UsageProblem:
    return UsageProblem(f"use {name}", why, "download it again: https://micropython.org/download/?mcu=rp2040")
