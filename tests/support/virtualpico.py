"""A virtual Pico in tests: a process of edgeagent.demo.virtualpico, with what happened to it and a hand to do things to it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.servers import PATIENCE_SECONDS

__all__ = ["Pico", "wait_for"]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Return what ``condition()`` returns as soon as that is true; fail the test when it is not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"still not true after {seconds:g} s: {what}"
        time.sleep(0.01)
    return found


class Pico:
    """``with Pico(folder) as pico``: plugged in, and booted. ``port`` leads to its port, ``flash`` is its file system.

    files: of its flash, by name. machine, version, build: what it says that it is, if not a Pico W with the interpreter's own version.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        files: dict[str, str] | None = None,
        machine: str = "",
        version: list[int] | None = None,
        build: str = "",
    ) -> None:
        self.flash, self.world, self.port = folder / "flash", folder / "flash.world", folder / "ttyACM"
        self.volume = self.world / "RPI-RP2"
        self.world.mkdir(parents=True)
        about = {"machine": machine, "version": version, "build": build}
        (self.world / "board.json").write_text(json.dumps({key: value for key, value in about.items() if value}))
        for name, text in (files or {}).items():
            self.put(name, text)
        self.flash.mkdir(exist_ok=True)
        self._events = folder / "events"
        self._argv = [sys.executable, "-m", "edgeagent.demo.virtualpico", str(self.flash), str(self.port), *options]
        self._process: subprocess.Popen[bytes] | None = None
        self._seen = 0

    def put(self, name: str, text: str) -> None:
        path = self.flash / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def inputs(self, **values: Any) -> None:
        (self.world / "inputs.json").write_text(json.dumps(values))

    def __enter__(self) -> Pico:
        with self._events.open("wb") as events:
            self._process = subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=events)
        self.wait("bootsel" if "--bootsel" in self._argv else "boot")
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        assert process and process.stdin
        process.stdin.close()
        process.wait(10)

    def tell(self, word: str) -> None:
        """``unplug``, ``plug``, ``power``, or what its own program may say."""
        with (self.world / "control").open("w") as control:
            control.write(f"{word}\n")

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._events.read_text().splitlines()]

    def happened(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each["event"] == event]

    def wait(self, event: str) -> dict[str, Any]:
        """The next ``event`` after the one that was waited for last."""

        def look() -> dict[str, Any] | None:
            for at, each in enumerate(self.events[self._seen :], self._seen + 1):
                if each["event"] == event:
                    self._seen = at
                    return each
            return None

        found: dict[str, Any] = wait_for(look, f"{event} after {self.events[: self._seen]}, with {self.events[self._seen :]}")
        return found
