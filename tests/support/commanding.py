"""Writing commands as an operator does, or as an attacker would; and a device that carries them out in the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from edgeagent import actions, documents, files, subjects, wire
from edgeagent.actions import Context, Outcome
from edgeagent.assembly.devicecommands import DeviceCommands
from edgeagent.cel import Evaluator
from edgeagent.command import Entry, Result, Target, digest, entry_of, is_final, new_id
from edgeagent.commandsettings import CommandSettings
from edgeagent.direct import get_last
from edgeagent.enrolled import TRUST_FILE
from edgeagent.link import Client
from edgeagent.machine import Machine
from edgeagent.patterns.commandfollowers import CommandFollowers
from edgeagent.patterns.events import Events
from edgeagent.patterns.facts import Facts
from edgeagent.publish import published, published_if
from edgeagent.runtime import Tasks
from edgeagent.schema import PathSettings
from edgeagent.settings import Settings
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import peek, sign
from tests.support.quick import SPACING_SECONDS
from tests.support.servers import PATIENCE_SECONDS, until
from tests.support.trusthub import TrustHub

__all__ = ["Author", "CommandDevice", "heard", "person", "pins_of", "result_of", "results_of", "settings_for"]

DEVICE = "pi-1"


def person(hub: TrustHub, role: Any = "operator", name: str = "olga", *tags: str, key: KeyPair | None = None) -> Credentials:
    """A login whose role key the hub has made. tags: as in its JWT, ``action:ping``."""
    key = key or KeyPair.generate("user")
    return Credentials(hub._user(role, name, key.public, 3600, list(tags)), key.seed)


def pins_of(hub: TrustHub, *roles: Any) -> Pins:
    """Pins of a device that follows these roles."""
    return Pins(signers={hub._roles[role].public: role for role in roles or ("operator", "admin", "group-operator")})


class Author:
    """Writes entries into logs. client: one that may. login: who signs."""

    def __init__(self, client: Client, login: Credentials) -> None:
        self.client, self.login = client, login

    async def head(self, scope: Scope) -> tuple[int, str, int]:
        """(number, log, floor) of the scope's newest entry; zeros when there is none."""
        found = await get_last(self.client, "EDGE_COMMANDS", subjects.command_log(scope))
        if found is None:
            return 0, "", 1
        entry = entry_of(peek(found.data).body.encode())
        return int(found.subject.rpartition(".")[2]), entry.log, entry.floor

    def entry(self, action: str, args: dict[str, Any] | None = None, **more: Any) -> Entry:
        """expires: seconds from now."""
        now = time.time()
        not_after = int(now + more.pop("expires", 60))
        return Entry(
            **{
                "id": new_id(now, self.login.public_key),
                "action": action,
                "log": "",
                "floor": 1,
                "not_after": not_after,
                "args": args or {},
                **more,
            }
        )

    def signed(self, entry: Entry, scope: Scope, number: int, *, at: float | None = None, kind: str = "command") -> bytes:
        body = wire.encode(entry)
        return sign(self.login, kind=kind, scope=scope, number=number, at=int(time.time() if at is None else at), body=body)

    async def write(self, entry: Entry, scope: Scope = FLEET_ALL, *, at: float | None = None) -> int:
        """Add it to the log as an operator's tools do; its number."""
        while True:
            head, log, floor = await self.head(scope)
            ready = msgspec.structs.replace(entry, log=log or f"log-{secrets.token_hex(8)}", floor=floor)
            data = self.signed(ready, scope, head + 1, at=at)
            if await published_if(self.client, subjects.command_log(scope, head + 1), data, 0, what="write") is not None:
                return head + 1

    async def send(self, action: str, args: dict[str, Any] | None = None, scope: Scope = FLEET_ALL, **more: Any) -> str:
        """Command it; the id. at: when it was signed, Unix seconds. more: fields of the entry, and expires."""
        at = more.pop("at", None)
        entry = self.entry(action, args, **more)
        await self.write(entry, scope, at=at)
        return entry.id

    async def cancel(self, command_id: str, scope: Scope = FLEET_ALL) -> None:
        await self.write(self.entry("cancel", {"id": command_id}), scope)

    async def raw(self, data: bytes, scope: Scope = FLEET_ALL, number: int = 0) -> int:
        """Store these bytes as an entry. number: 0 for the next; it."""
        number = number or (await self.head(scope))[0] + 1
        await published(self.client, subjects.command_log(scope, number), data)
        return number


async def result_of(client: Client, command_id: str, device: str = DEVICE) -> Result | None:
    found = await get_last(client, "EDGE_RESULTS", subjects.result(device, command_id))
    return wire.decode(found.data, Result) if found else None


async def heard(client: Client, command_id: str, device: str = DEVICE, *, seconds: float = PATIENCE_SECONDS) -> Result:
    """The final result, waited for at most so long."""
    found: list[Result] = []

    async def there() -> bool:
        result = await result_of(client, command_id, device)
        found[:] = [result] if result else []
        return result is not None and is_final(result.state)

    await until(there, f"{command_id} has ended", seconds)
    return found[0]


async def results_of(client: Client, ids: list[str], device: str = DEVICE, *, seconds: float = PATIENCE_SECONDS) -> list[Result]:
    return [await heard(client, each, device, seconds=seconds) for each in ids]


class Lines(msgspec.Struct, frozen=True):
    path: str
    line: str = "x"


class Waits(msgspec.Struct, frozen=True):
    path: str
    stubborn: bool = False


def _append(path: Path, line: str) -> None:
    with path.open("a") as out:
        out.write(f"{line}\n")


def register_actions() -> None:
    """What commands of tests do."""

    async def append(context: Context, args: Lines) -> Outcome:
        _append(Path(args.path), args.line)
        context.write(args.line.encode())
        return Outcome("succeeded", value={"line": args.line})

    async def wait(context: Context, args: Waits) -> Outcome:
        Path(args.path).write_text("began")
        context.write(b"began")
        if args.stubborn:
            await asyncio.Event().wait()
        await context.cancelled.wait()
        return Outcome("cancelled", exit_code=143)

    async def break_down(context: Context, args: Any) -> Outcome:
        raise KeyError("nothing there")

    for name, run, shape, more in (
        ("test.append", append, Lines, {}),
        ("test.again", append, Lines, {"idempotent": True}),
        ("test.newest", append, Lines, {"supersedes": True}),
        ("test.short", append, Lines, {"max_expiry_seconds": 5, "default_expiry_seconds": 5}),
        ("test.wait", wait, Waits, {"timeout_seconds": 3600}),
        ("test.quick", wait, Waits, {"timeout_seconds": 0.2}),
        ("test.beside", wait, Waits, {"timeout_seconds": 3600, "concurrent": True}),
        ("test.broken", break_down, msgspec.defstruct("Nothing", []), {}),
        ("test.closed", append, Lines, {"refuse": lambda settings, args: "`test.closed = true`"}),
    ):
        actions.register(actions.Action(name=name, description="Of a test.", run=run, arguments=shape, **more))  # type: ignore[arg-type]


def settings_for(folder: Path) -> Settings:
    files.make_folder(folder, 0o700)
    return Settings(
        commands=CommandSettings(allow=["ping", "test.*"]), paths=PathSettings(state=str(folder), runtime=str(folder / "run"))
    )


class CommandDevice:
    """The commands of the device ``pi-1`` in the group berlin, over ``client``, with its store in ``folder``. labels: its own."""

    def __init__(self, client: Client, folder: Path, *, machine: Machine | None = None, **labels: str) -> None:
        self.client, self.folder, self.labels, self.machine = client, folder, labels, machine or Machine(folder / "none")
        self.settings = settings_for(folder)
        self.told: list[tuple[str, str]] = []
        self.boot = "boot-1"
        register_actions()

    async def look_at_signers(self) -> None:
        """An agent reads who may sign; here a test says it with :meth:`trust`."""

    def trust(self, pins: Pins) -> None:
        files.write_atomic(self.folder / TRUST_FILE, msgspec.json.encode(pins), 0o600)

    @property
    def journal(self) -> Any:
        return self.commands._journal

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.told]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[CommandDevice]:
        """Follow and run within the block, with the pauses of :mod:`tests.support.quick`."""
        with patch.object(documents, "SPACING_SECONDS", SPACING_SECONDS):
            async with self._running():
                yield self

    @contextlib.asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        evaluator, tasks = Evaluator(), Tasks()
        events = Events(DEVICE)
        tell = events.tell

        def told(severity: str, kind: str, text: str, **data: object) -> None:
            self.told.append((kind, text))
            tell(severity, kind, text, **data)

        events.tell = told  # type: ignore[method-assign]
        self.commands = DeviceCommands(
            self.client,
            self.client,
            DEVICE,
            self.settings,
            self.machine,
            boot=self.boot,
            evaluator=evaluator,
            facts=Facts(self.machine, {"id": DEVICE, "labels": self.labels}),
            events=events,
            labels=lambda: self.labels,
            heartbeat_seconds=lambda: 60.0,
            look_at_signers=self.look_at_signers,
        )
        self.follower = CommandFollowers(self.client, self.commands.changed)
        try:
            await self.follower.set_sources(self.commands.sources(["berlin"]))
            self.commands.start(tasks)
            self.follower.start(tasks)
            self.link_came()
            yield
        finally:
            await tasks.close()
            await self.follower.close()
            self.commands.close()
            await evaluator.close()

    def link_came(self) -> None:
        self.commands.link_came()
        self.follower.link_came()


__all__ += ["Target", "digest", "register_actions"]
