"""A board that takes updates, as a process: the real loader, the real firmware/app/update.py in its slot, on MicroPython where there is one.

It is asked by lines of JSON, like a board by messages. A reset ends the process, and the loader decides what starts then.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeagent.errors import Failed, Refused, Unreachable
from edgeagent.firmware.release import Release
from tests.support.micropython import APP, FIRMWARE, HEAP, environment, micropython

__all__ = ["UpdatingBoard", "release"]

#: What runs on it: the loader starts the slot, whose app answers questions until it is to be reset.
_APP = """
import json, sys
import loader
class Commands:
    found = {}
    @staticmethod
    def command(name, **more):
        def add(do):
            Commands.found[name] = do
            return do
        return add
sys.modules["commands"] = Commands
import update
resets = []
update.restart = lambda: resets.append(1)
async def main(wdt):
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked["a"] == "confirm":
                loader.confirm()
                said = {"ok": True, "v": {}}
            else:
                said = {"ok": True, "v": Commands.found[asked["a"]](asked["args"])}
        except ValueError as error:
            said = {"ok": False, "why": str(error)}
        sys.stdout.write("answer " + json.dumps(said) + "\\n")
        if hasattr(sys.stdout, "flush"):
            sys.stdout.flush()
        if resets:
            return
"""
_START = """
import sys, loader
loader.ROOT = sys.argv[1]
loader.PAUSE_SECONDS = 0
loader.machine = None
def reset():
    raise SystemExit
loader.reset = reset
loader.main()
"""


def release(version: str, app: str = "", **more: str) -> Release:
    """One that takes updates itself. app: what it does at its start. more: other modules."""
    files = {
        "app.py": f"{app}\n{_APP}",
        "version.py": f'VERSION = "{version}"\n',
        **{n: (APP / n).read_text() for n in ("update.py", "updateargs.py")},
    }
    return Release(version, {name: text.encode() for name, text in {**files, **{f"{n}.py": t for n, t in more.items()}}.items()})


class UpdatingBoard:
    """``folder``: its flash. It runs ``first`` from slot a. confirms: the version that runs proves itself when it is asked something.

    asked: the actions, in order. before: is called with each before it is done; it may unplug the board, or raise.
    """

    def __init__(self, folder: Path, first: Release, *, confirms: bool = True) -> None:
        self.folder, self.confirms = folder, confirms
        self.asked: list[str] = []
        self.printed: list[str] = []
        self.before: Any = lambda action, args: None
        self._process: subprocess.Popen[str] | None = None
        folder.mkdir()
        self.fill("a", first)
        (folder / "slot.json").write_text('{"active": "a"}')
        self.start_script = folder.parent / "start.py"
        self.start_script.write_text(_START)

    def fill(self, slot: str, of: Release) -> None:
        for name, data in {**of.files, "manifest.json": of.manifest}.items():
            path = self.folder / slot / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def __enter__(self) -> UpdatingBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        """Pull its power."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "slot.json").read_text())
        return found

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            program = [micropython(), "-X", f"heapsize={HEAP}"] if micropython() else [sys.executable]
            self._process = subprocess.Popen(
                [*program, str(self.start_script), str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment(FIRMWARE),
            )
        return self._process

    def do(self, action: str, args: Mapping[str, Any]) -> dict[str, Any] | None:
        """``{"ok":, "v":, "why":}``; None: it answers nothing, for it was reset."""
        process = self._started()
        assert process.stdin and process.stdout
        try:
            process.stdin.write(json.dumps({"a": action, "args": args}) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            self.cut()
            return None
        for line in process.stdout:
            if line.startswith("answer "):
                found: dict[str, Any] = json.loads(line[7:])
                return found
            self.printed.append(line)
        self.cut()
        return None

    async def command(self, action: str, args: Mapping[str, Any], seconds: float) -> Any:
        """As an agent has it asked."""
        await asyncio.sleep(0)  # whoever wants to end it has a turn
        self.asked.append(action)
        self.before(action, args)
        if self.confirms and self.state.get("pending") and action == "update.status":
            self.do("confirm", {})
        found = self.do(action, args)
        if found is None:
            raise Unreachable(f"do {action}", "it did not answer")
        if not found["ok"]:
            raise Failed(f"do {action}", found["why"])
        return found["v"]

    def unplug(self) -> None:
        """It is cut off, and away for the question that comes now."""
        self.cut()
        raise Refused("ask", "it is offline")
