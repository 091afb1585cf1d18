"""What an action is given in tests: a machine below a temporary folder, with small real programs in place of systemd's."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgeagent import actions
from edgeagent.actions import Context, Outcome
from edgeagent.machine import Machine
from edgeagent.settings import Settings, parse

#: Whoever runs the tests: root, or somebody in whose place nobody else can be put.
ME = pwd.getpwuid(os.geteuid()).pw_name


class Board:
    """A machine whose root is ``folder / "root"``; the agent's settings are ``text``, its state is ``folder / "state"``.

    hub: what it can read there, by subject. stored: headers and data of what it has stored there.
    """

    def __init__(self, folder: Path, text: str = "", boot: str = "boot-1") -> None:
        self.folder, self.machine, self.boot = folder, Machine(folder / "root"), boot
        self.settings = parse(f'{text}\n[paths]\nstate = "{folder / "state"}"\n', folder / "agent.toml")
        self.settings.state_folder.mkdir(exist_ok=True)
        self.cancelled = asyncio.Event()
        self.written = b""
        self.asked: list[tuple[str, Any]] = []
        self.hub: dict[str, bytes] = {}
        self.stored: list[tuple[dict[str, str], bytes]] = []

    def put(self, path: str, text: str, mode: int = 0o644) -> Path:
        """A file of the machine."""
        file = self.machine.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def program(self, path: str, script: str, interpreter: str = "/bin/sh") -> Path:
        return self.put(path, f"#!{interpreter}\n{script}\n", 0o755)

    def systemctl(self, script: str = "") -> Path:
        """Write each argument of a call in a line of its own, then run the script; the file with these lines."""
        calls = self.folder / "systemctl.calls"
        self.program("/usr/bin/systemctl", f'printf "%s\\n" "$@" >> {calls}\n{script}')
        return calls

    def _write(self, data: bytes) -> None:
        self.written += data

    async def _ask(self, subject: str, body: bytes, seconds: float) -> bytes:
        self.asked.append((subject, msgspec.json.decode(body)))
        return await self.answer()

    async def _read(self, stream: str, subject: str, seconds: float) -> bytes | None:
        return self.hub.get(subject)

    async def _store(self, what: str, data: bytes, headers: Mapping[str, str], seconds: float) -> int:
        self.stored.append((dict(headers), data))
        return len(self.stored)

    async def answer(self) -> bytes:
        """What a program on the device answers."""
        return b""

    @property
    def context(self) -> Context:
        return Context(
            device_id="pi-1",
            settings=self.settings,
            machine=self.machine,
            boot=self.boot,
            write=self._write,
            cancelled=self.cancelled,
            ask=self._ask,
            read=self._read,
            store=self._store,
            id="01J0",
        )

    def refusal(self, name: str, **args: Any) -> str:
        return actions.refusal(self.settings, name, args)

    async def run(self, name: str, **args: Any) -> Outcome:
        """Check the arguments and run the action, allowed or not."""
        found = actions.find(name)
        assert found is not None
        return await found.run(self.context, actions.arguments(found, args))


def settings(text: str, folder: Path) -> Settings:
    return Board(folder, text).settings
