"""A backup of a hub while it runs, or for good once it was stopped: which parts, and in which order."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

import msgspec

from edgeagent import __version__, files, subjects
from edgeagent.assembly.hublogin import sign_in
from edgeagent.assembly.hubprivate import private
from edgeagent.errors import EdgeError, Failed, Refused, Unreachable, UsageProblem
from edgeagent.hub import snapshots
from edgeagent.hub.backupfile import PART_BYTES, BackupWriter, Manifest, Part, StreamPart
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.streams import (
    CONFIG_BUCKET,
    DEVICES_BUCKET,
    PEOPLE_BUCKET,
    REVOCATIONS_BUCKET,
    TOKENS_BUCKET,
)
from edgeagent.link import Client, request, server_version
from edgeagent.subjects import TRUST_BUCKET
from edgeagent.times import rfc3339
from edgeagent.trust import jwt

__all__ = ["LAST", "Progress", "back_up", "in_order"]

#: Taken last, in this order; all others come before them, by name. The numbers of the reasons are those of docs/decisions.md.
#: The audit before what it copies: it goes on behind the last message that it has, and would skip as many new ones as it were ahead (1).
#: Commands before the files that they name and before their results (2). Tokens before devices: else a device that enrolled meanwhile
#: were one that a used token let in and somebody forgot (3). Who is kept out last, when all that decides it is in (4).
LAST = (
    "EDGE_AUDIT",
    "EDGE_COMMANDS",
    f"KV_{CONFIG_BUCKET}",
    f"KV_{TRUST_BUCKET}",
    subjects.FILES,
    "EDGE_RESULTS",
    subjects.UPLOADS,
    f"KV_{TOKENS_BUCKET}",
    f"KV_{DEVICES_BUCKET}",
    f"KV_{PEOPLE_BUCKET}",
    f"KV_{REVOCATIONS_BUCKET}",
)
#: Larger files of the hub's folder are none that we or a person would keep there.
_MAX_FOLDER_FILE = 1 << 20

#: Told what is being read, how many bytes of it so far, and of how many about.
Progress = Callable[[str, int, int], None]


def in_order(names: list[str]) -> list[str]:
    """The streams in the order in which they are to be taken."""
    return [*sorted(name for name in names if name not in LAST), *(name for name in LAST if name in names)]


async def back_up(
    place: HubFolder,
    out: IO[bytes],
    *,
    final: bool = False,
    progress: Progress | None = None,
    room: Callable[[], None] = lambda: None,
) -> Manifest:
    """Write a backup of the hub into ``out``; what it holds.

    final: the hub is stopped, and is not to be started again: the caller retires it once the backup is safe. room: called before each part,
    may raise. Raises EdgeError; what was written until then is no backup.
    """
    options, keyring = place.options(), Keyring.load(place.path)
    try:
        if not final:
            return await _online(place, keyring, out, progress, room)
        if place.cluster().number:
            raise UsageProblem("take a final backup", "the hub has several servers", "take one while they run, without --final")
        async with (
            private([place], options, keyring) as server,
            server.connected("hub") as hub,
            server.connected("sys") as system,
        ):
            return await _Backup(place, keyring, hub, system, out, progress, room).write(final=True)
    except EdgeError:  # some of ours are OSErrors too
        raise
    except OSError as error:
        raise files.failure("write the backup", error) from None


async def _online(
    place: HubFolder, keyring: Keyring, out: IO[bytes], progress: Progress | None, room: Callable[[], None]
) -> Manifest:
    try:
        hub = await sign_in(place, keyring, "hub")
    except Unreachable as error:
        remedy = f"start it: `edgeagent hub up --dir {place.path}`; if it was stopped for good: --final"
        raise Unreachable(error.what, error.why, remedy) from None
    try:
        system = await sign_in(place, keyring, "sys")
        try:
            return await _Backup(place, keyring, hub, system, out, progress, room).write(final=False)
        finally:
            await _close(system)
    finally:
        await _close(hub)


async def _close(client: Client) -> None:
    with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
        await client.close()


class _Backup:
    def __init__(
        self,
        place: HubFolder,
        keyring: Keyring,
        hub: Client,
        system: Client,
        out: IO[bytes],
        progress: Progress | None,
        room: Callable[[], None],
    ) -> None:
        self._place, self._keyring, self._hub, self._system = place, keyring, hub, system
        self._writer, self._progress = BackupWriter(out, time.time()), progress
        self._replicas, self._room = 1, room

    async def write(self, *, final: bool) -> Manifest:
        try:
            return await self._write(final=final)
        except BaseException:
            self._writer.abandon()
            raise

    async def _write(self, *, final: bool) -> Manifest:
        began = _now()
        streams = {name: await self._stream(name) for name in in_order(await snapshots.names(self._hub))}
        if not streams:
            raise Failed("back up the hub", "it has no streams yet", "wait until it is up: `edgeagent hub status`")
        # After the streams: the newest word on who is kept out, which the restored hub takes into its record.
        for name, data in [*_folder(self._place), *await self._accounts()]:
            await asyncio.to_thread(self._writer.add, name, data)
        manifest = Manifest(
            hub=self._place.options().name,
            operator=self._keyring.public.operator_key,
            began=began,
            ended=_now(),
            edgeagent=__version__,
            server=server_version(self._hub),
            replicas=self._replicas,
            final=final,
            streams=streams,
        )
        return await asyncio.to_thread(self._writer.end, manifest)

    async def _stream(self, name: str) -> StreamPart:
        async with snapshots.taken(self._hub, name) as (begun, chunks):
            when = _now()
            self._replicas = max(self._replicas, int(begun.config.get("num_replicas", 1)))
            state = msgspec.convert(begun.state, snapshots.State)
            head = {"config": begun.config, "state": begun.state}
            await asyncio.to_thread(self._writer.add, f"streams/{name}/backup.json", json.dumps(head, indent=1).encode() + b"\n")
            return StreamPart(time=when, state=state, snapshot=await self._parts(name, chunks, state.bytes))

    async def _parts(self, name: str, chunks: AsyncIterator[bytes], about: int) -> Part:
        digest, size, number = hashlib.sha256(), 0, 0
        async for part in _gathered(chunks):
            number, size = number + 1, size + len(part)
            digest.update(part)
            self._room()
            await asyncio.to_thread(self._writer.add_part, name, number, part)
            if self._progress:
                self._progress(name, size, about)
        return Part(size=size, sha256=digest.hexdigest())

    async def _accounts(self) -> list[tuple[str, bytes]]:
        return [(f"accounts/{public}.jwt", await self._account(public)) for public in self._keyring.public.accounts.values()]

    async def _account(self, public: str) -> bytes:
        what = "read the hub's accounts"
        answer = await request(self._system, f"$SYS.REQ.ACCOUNT.{public}.CLAIMS.LOOKUP", what=what)
        try:
            jwt.decode(answer.data.decode(), issuers=self._keyring.issuers())
        except (EdgeError, UnicodeDecodeError) as error:
            raise Refused(what, f"the server's account {public} is not ours: {error}") from None
        return bytes(answer.data)


async def _gathered(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Parts of PART_BYTES, the last one shorter."""
    part = bytearray()
    async for chunk in chunks:
        part += chunk
        while len(part) >= PART_BYTES:
            yield bytes(part[:PART_BYTES])
            del part[:PART_BYTES]
    if part:
        yield bytes(part)


def _folder(place: HubFolder) -> Iterator[tuple[str, bytes]]:
    """What a person or the hub keeps in its folder, but for the store, the logs and what is made anew at each start."""
    found = [place.options_file, place.founder]
    for folder in (place.keys, place.tls):
        found += sorted(folder.iterdir()) if folder.is_dir() else []
    names = {path: path.relative_to(place.path) for path in found} | {
        path: path.relative_to(place.path.resolve()) for path in _named(place)
    }
    for path, name in names.items():
        if path.is_file() and path.name != "lock":
            yield f"hub/{name}", files.read_plain(path, _MAX_FOLDER_FILE)


def _named(place: HubFolder) -> Iterator[Path]:
    """Files that hub.toml names and that lie in the hub's folder: passwords and tokens of what it sends to. Others are the person's."""
    settings = msgspec.to_builtins([place.options(), *place.exports()])
    root, known = place.path.resolve(), (place.keys.resolve(), place.tls.resolve())
    for path in sorted({place.named(name) for name in _files_in(settings)}):
        inside = path.resolve()
        if root in inside.parents and not any(folder in inside.parents for folder in known):
            yield inside


def _files_in(value: object, key: str = "") -> Iterator[str]:
    """Every value of a setting called ``..._file``."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _files_in(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _files_in(inner)
    elif isinstance(value, str) and value and key.endswith("_file"):
        yield value


def _now() -> str:
    return rfc3339(datetime.now(timezone.utc))
