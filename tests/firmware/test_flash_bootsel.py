"""MicroPython onto a board in BOOTSEL mode, and what is refused before anything is written."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from edgeagent.cli.firmware_flash import _targets
from edgeagent.errors import EdgeError, Failed, Refused, Unreachable, UsageProblem
from edgeagent.firmware import bootsel, flash, uf2
from edgeagent.firmware.boards import Board
from edgeagent.firmware.bootsel import Volume
from edgeagent.machine import Machine
from tests.support.micropython import missing
from tests.support.minifirmware import VERSION, make, wanted
from tests.support.virtualpico import Pico

RP2040, RP2350, ABSOLUTE = 0xE48BFF56, 0xE48BFF59, 0xE48BFF57
needs_micropython = pytest.mark.skipif(bool(missing()), reason=missing())


def block(number: int = 0, of: int = 1, family: int = RP2040, *, flags: int = 0x2000, size: int = 256, address: int = 0) -> bytes:
    address = address or 0x10000000 + 256 * number
    head = struct.pack("<8I", 0x0A324655, 0x9E5D5157, flags, address, size, number, of, family)
    return head + os.urandom(476) + struct.pack("<I", 0x0AB16F30)


def whole(blocks: int = 3, family: int = RP2040) -> bytes:
    return b"".join(block(number, blocks, family) for number in range(blocks))


# ---- files ----


def test_a_whole_file_is_known_by_its_chip() -> None:
    assert uf2.parse("x", whole()).chip == "RP2040"
    assert uf2.parse("x", block(0, 2, ABSOLUTE) + whole(family=RP2350)).chip == "RP2350"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "0 bytes"),
        (whole()[:-1], "blocks of 512 bytes"),
        (b"\x7fELF" + bytes(508), "no UF2 file"),
        (whole()[:512] + bytes(512) + whole()[1024:], "block 1 is damaged"),
        (whole()[:1024], "says that it has 3: it is not whole"),
        (block(0, 2) + block(0, 2), "not numbered"),
        (block(1, 2) + block(0, 2), "not numbered"),
        (block(family=0xADA52840), "no chip of Raspberry Pi"),
        (block(flags=0), "no chip of Raspberry Pi"),
        (block(0, 2) + block(1, 2, RP2350), "several chips"),
        (block(size=477), "477 bytes"),
        (block(address=0x20000000), "not in flash"),
    ],
)
def test_what_is_no_whole_uf2_of_a_chip_of_ours_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(UsageProblem, match=why):
        uf2.parse("x", data)


# ---- volumes ----


def volume(folder: Path, board: str = "RPI-RP2") -> Path:
    folder.mkdir()
    (folder / "INFO_UF2.TXT").write_text(f"UF2 Bootloader v3.0\r\nModel: a model\r\nBoard-ID: {board}\r\n")
    return folder


def test_volumes_are_found_where_they_are_mounted_also_below_a_name_with_a_blank(tmp_path: Path) -> None:
    one, other = volume(tmp_path / "RPI RP2"), volume(tmp_path / "two", "RP2350")
    (tmp_path / "stick").mkdir()
    mounts = f"/dev/sda1 {str(one).replace(' ', chr(92) + '040')} vfat rw 0 0\n/dev/sdb1 {other} vfat rw 0 0\n"
    mounts += f"/dev/sdc1 {tmp_path / 'stick'} vfat rw 0 0\nproc {one} proc rw 0 0\nshort\n"
    assert bootsel.volumes(lambda: mounts) == [Volume(one, "RP2040"), Volume(other, "RP2350")]


def test_the_wrong_volume_and_more_than_one_are_refused(tmp_path: Path) -> None:
    file = uf2.parse("x.uf2", whole())
    with pytest.raises(UsageProblem, match="2 boards are in BOOTSEL mode"):
        bootsel.check(file, [Volume(tmp_path, "RP2040"), Volume(tmp_path, "RP2040")])
    with pytest.raises(Refused, match=r"for the RP2040, and the board at .* is an RP2350"):
        bootsel.check(file, [Volume(tmp_path, "RP2350")])
    with pytest.raises(Unreachable, match=r"no volume of a board in BOOTSEL mode is mounted.*udisksctl"):
        bootsel.wait_for_volume(file, list, seconds=0)


def test_a_board_in_bootsel_mode_is_seen_on_the_bus(tmp_path: Path) -> None:
    assert bootsel.is_plugged(Machine(tmp_path))  # nobody knows
    device = tmp_path / "sys/bus/usb/devices/1-1"
    device.mkdir(parents=True)
    (device / "idVendor").write_text("2e8a\n")
    (device / "idProduct").write_text("0005\n")
    assert not bootsel.is_plugged(Machine(tmp_path))
    (device / "idProduct").write_text("0003\n")
    assert bootsel.is_plugged(Machine(tmp_path))


@pytest.mark.parametrize("number", [errno.EIO, errno.ENODEV])
def test_an_error_at_the_end_of_the_copy_is_one_only_if_the_volume_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    file, there = uf2.parse("x.uf2", whole()), Volume(volume(tmp_path / "v"), "RP2040")

    def fails(descriptor: int) -> None:
        raise OSError(number, "gone")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(Failed, match="does not take it"):
        bootsel.copy(file, there)

    def leaves(descriptor: int) -> None:
        (there.path / "INFO_UF2.TXT").unlink()
        fails(descriptor)

    monkeypatch.setattr(os, "fsync", leaves)
    bootsel.copy(file, there)
    assert (there.path / "edgeagent.uf2").read_bytes() == file.data


def test_a_link_on_the_volume_leads_the_copy_nowhere(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    there = Volume(volume(tmp_path / "v"), "RP2040")
    (there.path / "edgeagent.uf2").symlink_to(precious)
    with pytest.raises(EdgeError, match="cannot copy"):
        bootsel.copy(uf2.parse("x.uf2", whole()), there)
    assert precious.read_text() == "mine"


# ---- boards ----


@needs_micropython
def test_a_board_gets_micropython_and_the_firmware_in_one_command(tmp_path: Path) -> None:
    firmware, file = make(tmp_path / "firmware"), tmp_path / "pico.uf2"
    file.write_bytes(whole(200))
    with Pico(tmp_path / "pico") as pico:
        command = [sys.executable, "-m", "edgeagent", "firmware", "flash", "--port", str(pico.port), "--source", str(firmware)]
        ended = subprocess.run(
            [*command, "--uf2", str(file), "--volume", str(pico.volume), "--json"], capture_output=True, text=True, timeout=60
        )
        (record,) = json.loads(ended.stdout)
        assert (ended.returncode, record["version"], record["state"]) == (0, VERSION, "flashed")
        assert [each["event"] for each in pico.events if each["event"] in ("bootsel", "flashed")] == ["bootsel", "flashed"]
        assert pico.happened("flashed") == [{"event": "flashed", "bytes": 200 * 512}]


@needs_micropython
def test_micropython_for_a_board_that_runs_does_not_go_to_another_that_is_in_bootsel_mode(tmp_path: Path) -> None:
    firmware, other = make(tmp_path / "firmware"), volume(tmp_path / "other")
    asked = wanted(firmware, uf2=uf2.parse("1.uf2", whole()), volume=other)
    with Pico(tmp_path / "pico") as pico:
        with pytest.raises(Refused, match=r"a board is in BOOTSEL mode already, at .*other, and it is not the one at"):
            flash.flash(Board(str(pico.port)), asked, lambda *_: None)
        assert not pico.happened("bootsel") and [each.name for each in other.iterdir()] == ["INFO_UF2.TXT"]


def test_a_named_volume_is_meant_also_beside_boards_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from serial.tools import list_ports, list_ports_common

    running = list_ports_common.ListPortInfo("/dev/ttyACM0", skip_link_detection=True)
    running.vid, running.pid, running.serial_number = 0x2E8A, 0x0005, "E66"
    monkeypatch.setattr(list_ports, "comports", lambda: [running])
    asked = wanted(make(tmp_path / "firmware"), uf2=uf2.parse("1.uf2", whole()), volume=volume(tmp_path / "v"))
    assert _targets("", asked, everyone=False) == [Board("")]
    assert _targets("/dev/ttyACM0", asked, everyone=False) == [Board("/dev/ttyACM0", "E66")]


@needs_micropython
def test_an_empty_board_with_its_button_held_and_one_of_another_chip(tmp_path: Path) -> None:
    firmware = make(tmp_path / "firmware")
    with Pico(tmp_path / "pico", "--bootsel") as pico:
        board = Board(str(pico.port))
        with pytest.raises(Refused, match="for the RP2350"):
            flash.flash(
                board, wanted(firmware, uf2=uf2.parse("2.uf2", whole(family=RP2350)), volume=pico.volume), lambda *_: None
            )
        right = wanted(firmware, uf2=uf2.parse("1.uf2", whole()), volume=pico.volume)
        assert flash.flash(board, right, lambda *_: None).version == VERSION
    with Pico(tmp_path / "other", machine="Raspberry Pi Pico 2 with RP2350") as pico:
        with pytest.raises(Refused, match="this board is an RP2350"):
            flash.flash(Board(str(pico.port)), right, lambda *_: None)
        assert not pico.happened("bootsel")
