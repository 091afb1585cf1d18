"""The demo's board: our firmware, with a sensor of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import serial

from edgeagent.bridge.frames import Decoder, encode
from edgeagent.demo import pico
from tests.support.micropython import missing
from tests.support.virtualpico import wait_for

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def said(port: serial.Serial, decoder: Decoder) -> list[dict[str, Any]]:
    return [json.loads(each.data) for each in decoder.feed(port.read(4096)) if each.is_frame]


def test_it_says_hello_and_measures(tmp_path: Path) -> None:
    assert pico.is_possible()
    link = tmp_path / "tty"
    for lives in range(2):  # what is in its flash stays
        command = pico.board(tmp_path / "flash", link, "greenhouse")
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            wait_for(link.exists, "it is plugged in")
            heard: list[dict[str, Any]] = []
            with serial.Serial(str(link), timeout=0.1) as port:
                decoder = Decoder()

                def measured(port: serial.Serial = port, decoder: Decoder = decoder, heard: list[dict[str, Any]] = heard) -> bool:
                    port.write(encode(b'{"t":"hi"}'))
                    heard += said(port, decoder)
                    return {"hello", "r"} <= {each["t"] for each in heard}

                wait_for(measured, f"it says hello and measures in its life {lives}")
        finally:
            assert process.stdin
            process.stdin.close()
            process.wait(10)
        hello = next(each for each in heard if each["t"] == "hello")
        values = next(each for each in heard if each["t"] == "r")["v"]
        assert hello["id"] == "greenhouse" and {"a": "led", "sw": "on", "v": "led"} in hello["acts"]
        assert {"temperature", "humidity", "led"} <= set(values)


def test_without_an_interpreter_it_is_not_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pico, "find_micropython", str)
    assert not pico.is_possible()
