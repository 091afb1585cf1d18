"""A hub made of a backup: its folder, and its streams filled before anybody can reach it. Whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from edgeagent import files
from edgeagent.assembly import hubtls
from edgeagent.assembly.hubprivate import private
from edgeagent.errors import EdgeError, Failed, Refused, SettingsProblem
from edgeagent.hub import events, restored, snapshots, streams
from edgeagent.hub.backupfile import Checked, Manifest, Parts, check
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.optionsedit import edited
from edgeagent.link import Client
from edgeagent.trust import jwt

__all__ = ["Progress", "Restored", "restore"]

#: What `hub up` makes anew at each start, and what the restoring leaves behind.
_MADE_ANEW = ("server.conf", "server.out", "server.pid", "hub.pid", "ports")
#: Nothing of a backup goes there: the store comes from the streams, and who is kept out from JWTs that are looked at.
_OURS = ("store", "accounts", "ports", "troubles", "retired", "restored", "hub.pid")
_WHAT = "restore the hub"

#: Told which stream, how many bytes of it went so far, and of how many.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Restored:
    """tokens: ids of those that let devices in and do not any more. streams: by name, what each holds.

    newer_accounts: taken from the old folder."""

    manifest: Manifest
    options: HubOptions
    tokens: list[str]
    streams: dict[str, snapshots.State]
    newer_accounts: list[str]


async def restore(
    source: IO[bytes],
    place: HubFolder,
    *,
    changes: Mapping[str, object] | None = None,
    keep_tokens: bool = False,
    old: HubFolder | None = None,
    progress: Progress | None = None,
) -> Restored:
    """Make the hub of the backup in ``source`` in ``place``, which must not be there.

    changes: options of hub.toml that are others here. keep_tokens: those that were good go on to let devices in, as often as the backup
    says, although they may have been used since. old: the folder of the hub as it was: who was kept out since the backup stays out.
    Raises EdgeError; then nothing is left of it.
    """
    _check_free(place)
    checked = await asyncio.to_thread(check, source)
    files.make_folder(place.path.parent, 0o755)
    draft = HubFolder(Path(tempfile.mkdtemp(prefix=f".{place.path.name}.", dir=place.path.parent)))  # mode 0700
    try:
        return await _Restoring(source, checked, draft, progress).run(
            place, dict(changes or {}), keep_tokens=keep_tokens, old=old
        )
    except EdgeError:  # some of ours are OSErrors too
        raise
    except OSError as error:
        raise files.failure(_WHAT, error) from None
    finally:
        shutil.rmtree(draft.path, ignore_errors=True)  # it has been renamed where all went well


def _check_free(place: HubFolder) -> None:
    if place.path.exists() and (not place.path.is_dir() or any(place.path.iterdir())):
        raise Refused(
            f"restore a hub in {place.path}", "something is there already", "move it away, or name another folder with --dir"
        )


class _Restoring:
    def __init__(self, source: IO[bytes], checked: Checked, draft: HubFolder, progress: Progress | None) -> None:
        self._manifest, self._files, self._draft = checked.manifest, checked.files, draft
        self._parts, self._progress = Parts(source), progress

    async def run(self, place: HubFolder, changes: dict[str, object], *, keep_tokens: bool, old: HubFolder | None) -> Restored:
        self._unpack()
        options = self._options(changes)
        keyring = self._keyring()
        self._accounts(keyring)
        newer = restored.newer_accounts(keyring, old.path / "accounts", self._draft.path / "accounts") if old else []
        await asyncio.to_thread(hubtls.prepare, self._draft, options)
        async with private(self._draft, options, keyring) as server, server.connected("hub") as hub:
            found = await self._streams(hub)
            await streams.ensure(hub.jetstream(), options.store_max_bytes)
            ended = [] if self._manifest.final else await restored.forget_nothing(hub, keep_tokens=keep_tokens, now=time.time())
            await self._tell(hub, ended)
        for name in _MADE_ANEW:
            path = self._draft.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        files.write_atomic(self._draft.restored, f"{self._manifest.ended}\n".encode(), 0o600)
        await asyncio.to_thread(os.sync)  # gigabytes: before the folder is there, all of it is on the disk
        self._draft.path.rename(place.path)
        return Restored(manifest=self._manifest, options=options, tokens=ended, streams=found, newer_accounts=newer)

    def _unpack(self) -> None:
        for name, data in self._files.items():
            top, _, path = name.partition("/")
            if top == "hub":
                if path.split("/")[0] in _OURS:
                    raise Failed(_WHAT, f"the backup holds {name}, which no backup of a hub does: somebody made it up")
                target = self._draft.path / path
                for folder in reversed(target.relative_to(self._draft.path).parents[:-1]):
                    files.make_folder(self._draft.path / folder, 0o700)
                files.write_atomic(target, data, 0o600)

    def _options(self, changes: dict[str, object]) -> HubOptions:
        """What hub.toml says, with the changes. Which nats-server runs here is no backup's to say."""
        before = self._draft.options()
        if before.server and "server" not in changes:
            changes["server"] = ""
        wanted = msgspec.structs.replace(before, **changes)
        if wanted != before:
            text = edited(files.read_text(self._draft.options_file), changes)
            files.write_atomic(self._draft.options_file, text.encode(), 0o600)
        options = self._draft.options()
        if options != wanted:
            raise SettingsProblem(_WHAT, ["hub.toml in the backup is written in a way that cannot be changed here"])
        return options

    def _keyring(self) -> Keyring:
        try:
            keyring = Keyring.load(self._draft.path)
        except EdgeError as error:
            raise Failed(_WHAT, f"its keys are not whole: {error.why}", error.remedy) from None
        if keyring.public.operator_key != self._manifest.operator:
            raise Failed(_WHAT, "its keys are of another hub than its manifest says: somebody put two backups together")
        return keyring

    def _accounts(self, keyring: Keyring) -> None:
        """The accounts as the server had them; each must be ours, or it would let others in."""
        folder = files.make_folder(self._draft.path / "accounts", 0o700)
        known = set(keyring.public.accounts.values())
        for name, data in self._files.items():
            if name.startswith("accounts/"):
                public = name.removeprefix("accounts/").removesuffix(".jwt")
                claims = jwt.decode(data.decode("ascii", "replace"), issuers=keyring.issuers())
                if public not in known or claims.get("sub") != public:
                    raise Failed(_WHAT, f"{name} is no account of this hub: somebody made it up")
                files.write_atomic(folder / f"{public}.jwt", data, 0o600)

    async def _streams(self, hub: Client) -> dict[str, snapshots.State]:
        """Those that copy others come when those are there."""
        begun = {name: self._begun(name) for name in self._manifest.streams}
        copies = {name for name, one in begun.items() if one.config.get("sources")}
        found = {}
        for names in (begun.keys() - copies, copies):
            for name in [one for one in begun if one in names]:
                found[name] = await self._stream(hub, name, begun[name])
        return found

    def _begun(self, name: str) -> snapshots.Begun:
        try:
            begun = msgspec.json.decode(self._files[f"streams/{name}/backup.json"], type=snapshots.Begun)
        except (KeyError, msgspec.DecodeError):
            raise Failed(_WHAT, f"the backup does not say what the stream {name} is", "take another backup") from None
        if begun.config.get("name") != name:
            raise Failed(_WHAT, f"the stream {name} calls itself {begun.config.get('name')!r}: somebody made it up")
        return begun

    async def _stream(self, hub: Client, name: str, begun: snapshots.Begun) -> snapshots.State:
        part, gone = self._manifest.streams[name], 0

        def went(count: int) -> None:
            nonlocal gone
            gone += count
            if self._progress:
                self._progress(name, gone, part.snapshot.size)

        state = await snapshots.put_back(hub, begun, self._parts.of(name), replicas=1, progress=went)
        aged = begun.config.get("max_age") and part.state.messages
        if state.last_seq < part.state.last_seq or (state.messages < part.state.messages and not aged):
            raise Failed(
                _WHAT, f"the stream {name} has {state.messages} messages after it, not {part.state.messages}", "see server.log"
            )
        return state

    async def _tell(self, hub: Client, tokens: list[str]) -> None:
        manifest = self._manifest
        text = f"the hub was restored from its backup of {manifest.ended}"
        text += "" if manifest.final else "; what was decided since then is to be done again"
        data: dict[str, Any] = {"backup": manifest.ended, "final": manifest.final, "tokens_ended": tokens}
        with contextlib.suppress(EdgeError):
            await events.tell(hub, "info" if manifest.final else "warning", "hub.restored", text, **data)
