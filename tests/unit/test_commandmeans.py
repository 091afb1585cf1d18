"""What a user lacks for the actions that agent.toml allows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeagent.assembly.commandmeans import lacking
from tests.support.acting import Board

LED, JOURNAL = "/sys/class/leds/ACT", "/var/log/journal/0123/system.journal"
GPIO = '[commands]\nallow = ["gpio.*"]\n[gpio.pins.lamp]\npin = 17\ndirection = "output"'


def hints(board: Board, monkeypatch: pytest.MonkeyPatch, *closed: str) -> list[str]:
    """What is said. closed: files that the user has no right to; root, who runs the tests, has a right to all."""
    paths = {board.machine.path(name) for name in closed}
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) not in paths)
    found = list(lacking(board.settings, board.machine))
    assert all(each.level == "warn" and each.remedy for each in found)
    return [each.text for each in found]


def test_nothing_is_said_of_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hints(Board(tmp_path), monkeypatch) == []


def test_led_and_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(tmp_path)
    for path in (f"{LED}/trigger", f"{LED}/brightness", JOURNAL):
        board.put(path, "")
    assert hints(board, monkeypatch) == []
    led, journal = hints(board, monkeypatch, f"{LED}/trigger", JOURNAL)
    assert led.endswith(f"may not write to {board.machine.path(LED)}") and journal.endswith(
        f"may not read {board.machine.path(JOURNAL)}"
    )
    closed = Board(tmp_path, '[commands]\nallow = ["ping"]')
    assert hints(closed, monkeypatch, f"{LED}/trigger", JOURNAL) == []


def test_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "lgpio")
    (tmp_path / "lgpio.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    board = Board(tmp_path, GPIO)
    assert "no /dev/gpiochip0" in hints(board, monkeypatch)[0]
    board.put("/dev/gpiochip0", "")
    assert hints(board, monkeypatch) == []
    assert "may not open" in hints(board, monkeypatch, "/dev/gpiochip0")[0]
    assert hints(Board(tmp_path, '[commands]\nallow = ["gpio.*"]'), monkeypatch, "/dev/gpiochip0") == [], "no pin has a name"


def test_a_program_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(tmp_path, '[commands]\nallow = ["*"]')
    assert hints(board, monkeypatch) == ["reboot: there is no /usr/bin/systemctl"]
    board.systemctl()
    assert hints(board, monkeypatch) == []


def test_a_limit_of_memory_that_the_kernel_does_not_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(tmp_path, '[commands]\nallow = []\n[actions.exec]\nmemory_max = "100M"')
    assert hints(board, monkeypatch) == [], "nothing is known"
    board.put("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n")
    assert hints(board, monkeypatch) == ["limit the memory of exec: the kernel's memory controller is switched off"]
    board.put("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
    assert hints(board, monkeypatch) == []
