"""A hub made of a backup: its folder, and its streams filled before anybody can reach it. Whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from edgeagent import files
from edgeagent.assembly import hubcluster, hubtls
from edgeagent.assembly.hubcluster import Member
from edgeagent.assembly.hubprivate import PrivateHub, private
from edgeagent.assembly.hubrestoreplan import write_options
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.hub import events, restored, snapshots, streams
from edgeagent.hub.backupfile import Checked, Manifest, Parts, check
from edgeagent.hub.cluster import Cluster
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import Keyring
from edgeagent.link import Client
from edgeagent.times import parse_rfc3339
from edgeagent.trust import jwt

__all__ = ["Progress", "Restored", "restore"]

#: What `hub up` makes anew at each start, and what the restoring leaves behind.
_MADE_ANEW = ("server.conf", "server.out", "server.pid", "hub.pid", "ports")
#: Nothing of a backup goes there: the store comes from the streams, and who is kept out from JWTs that are looked at.
_OURS = ("store", "accounts", "ports", "troubles", "retired", "restored", "hub.pid")
_WHAT = "restore the hub"

#: Told which stream, how many bytes of it went so far, and of how many.
Progress = Callable[[str, int, int], None]


#: Which servers it is to be, given the options and the cluster of the server that was backed up (:mod:`.hubrestoreplan`).
Plan = Callable[[HubOptions, Cluster], Sequence[Member]]


@dataclass(frozen=True, kw_only=True)
class Restored:
    """tokens: ids of those that let devices in and do not any more. streams: by name, what each holds.

    newer_accounts: taken from the old folder.
    """

    manifest: Manifest
    members: Sequence[Member]
    tokens: list[str]
    streams: dict[str, snapshots.State]
    newer_accounts: list[str]


async def restore(
    source: IO[bytes],
    plan: Plan,
    *,
    keep_tokens: bool = False,
    old: HubFolder | None = None,
    progress: Progress | None = None,
) -> Restored:
    """Make the hub of the backup in ``source`` in the folders that ``plan`` names, none of which may be there.

    plan: given the options and the servers of the hub that was backed up, which it is to be. keep_tokens: those that were good go on to let
    devices in, as often as the backup says, although they may have been used since. old: the folder of the hub as it was: who was kept out
    since the backup stays out. Raises EdgeError; then nothing is left of it.
    """
    checked = await asyncio.to_thread(check, source)
    with contextlib.ExitStack() as drafts:
        first = _draft(Path(tempfile.gettempdir()), "edgeagent-restore", drafts)
        try:
            members = plan(*_before(checked, first))
            for member in members:
                _check_free(member.place)
            made = [_draft(member.place.path.parent, member.place.path.name, drafts) for member in members]
            return await _Restoring(source, checked, members, made, progress).run(keep_tokens=keep_tokens, old=old)
        except EdgeError:  # some of ours are OSErrors too
            raise
        except OSError as error:
            raise files.failure(_WHAT, error) from None


def _draft(parent: Path, name: str, drafts: contextlib.ExitStack) -> HubFolder:
    """A folder of mode 0700 that is gone at the end, unless it was renamed."""
    if not parent.is_dir():
        files.make_folder(parent, 0o755)
    path = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=parent))
    drafts.callback(shutil.rmtree, path, ignore_errors=True)
    return HubFolder(path)


def _before(checked: Checked, scratch: HubFolder) -> tuple[HubOptions, Cluster]:
    files.write_atomic(scratch.options_file, checked.files.get("hub/hub.toml", b"?"), 0o600)
    return scratch.options(), scratch.cluster()


def _check_free(place: HubFolder) -> None:
    if place.path.exists() and (not place.path.is_dir() or any(place.path.iterdir())):
        raise Refused(
            f"restore a hub in {place.path}", "something is there already", "move it away, or name another folder with --dir"
        )


class _Restoring:
    """members: the servers. drafts: their folders until they are whole."""

    def __init__(
        self,
        source: IO[bytes],
        checked: Checked,
        members: Sequence[Member],
        drafts: Sequence[HubFolder],
        progress: Progress | None,
    ) -> None:
        self._manifest, self._files, self._members, self._drafts = checked.manifest, checked.files, members, drafts
        self._parts, self._progress = Parts(source), progress

    async def run(self, *, keep_tokens: bool, old: HubFolder | None) -> Restored:
        first, options = self._drafts[0], self._members[0].options
        for draft, member in zip(self._drafts, self._members, strict=True):
            self._unpack(draft, first)
            write_options(draft, self._text("hub/hub.toml"), member)
        keyring = self._keyring()
        for draft in self._drafts:
            self._accounts(keyring, draft)
            newer = restored.newer_accounts(keyring, old.path / "accounts", draft.path / "accounts") if old else []
            if draft is not first and first.tls.exists():
                hubcluster.share_authority(first, draft)
            await asyncio.to_thread(hubtls.prepare, draft, draft.options())
        async with private(self._drafts, options, keyring) as server, server.connected("hub") as hub:
            await server.elected(hub)
            found = await self._streams(hub, server)
            await streams.ensure(hub.jetstream(), options.store_max_bytes, replicas=server.size)
            ended = [] if self._manifest.final else await self._forget_nothing(hub, keep_tokens=keep_tokens)
            await self._tell(hub, ended)
            for name in found:
                await server.copied(hub, name)
        await asyncio.to_thread(self._put_in_place)
        return Restored(manifest=self._manifest, members=self._members, tokens=ended, streams=found, newer_accounts=newer)

    async def _forget_nothing(self, hub: Client, *, keep_tokens: bool) -> list[str]:
        taken = parse_rfc3339(self._manifest.began).timestamp()
        return await restored.forget_nothing(hub, keep_tokens=keep_tokens, taken=taken, now=time.time())

    def _put_in_place(self) -> None:
        for draft in self._drafts:
            for name in _MADE_ANEW:
                path = draft.path / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            files.write_atomic(draft.restored, f"{self._manifest.ended}\n".encode(), 0o600)
        os.sync()  # gigabytes: before a folder is there, all of it is on the disk
        for draft, member in reversed(
            list(zip(self._drafts, self._members, strict=True))
        ):  # the first at last: where it is, all are
            draft.path.rename(member.place.path)

    def _unpack(self, draft: HubFolder, first: HubFolder) -> None:
        for name, data in self._files.items():
            top, _, path = name.partition("/")
            where = path.split("/")[0]
            if top != "hub" or (draft is not first and where in ("tls", "founder.json")):
                continue
            if where in _OURS:
                raise Failed(_WHAT, f"the backup holds {name}, which no backup of a hub does: somebody made it up")
            target = draft.path / path
            for folder in reversed(Path(path).parents[:-1]):
                files.make_folder(draft.path / folder, 0o700)
            files.write_atomic(target, data, 0o600)

    def _text(self, name: str) -> str:
        return self._files[name].decode("utf-8", "replace")

    def _keyring(self) -> Keyring:
        try:
            keyring = Keyring.load(self._drafts[0].path)
        except EdgeError as error:
            raise Failed(_WHAT, f"its keys are not whole: {error.why}", error.remedy) from None
        if keyring.public.operator_key != self._manifest.operator:
            raise Failed(_WHAT, "its keys are of another hub than its manifest says: somebody put two backups together")
        return keyring

    def _accounts(self, keyring: Keyring, draft: HubFolder) -> None:
        """The accounts as the server had them; each must be ours, or it would let others in."""
        folder = files.make_folder(draft.path / "accounts", 0o700)
        known = set(keyring.public.accounts.values())
        for name, data in self._files.items():
            if name.startswith("accounts/"):
                public = name.removeprefix("accounts/").removesuffix(".jwt")
                claims = jwt.decode(data.decode("ascii", "replace"), issuers=keyring.issuers())
                if public not in known or claims.get("sub") != public:
                    raise Failed(_WHAT, f"{name} is no account of this hub: somebody made it up")
                files.write_atomic(folder / f"{public}.jwt", data, 0o600)

    async def _streams(self, hub: Client, server: PrivateHub) -> dict[str, snapshots.State]:
        """All of them, and then who copies whom."""
        begun = {name: self._begun(name) for name in self._manifest.streams}
        found = {name: await self._stream(hub, name, one, server.size) for name, one in begun.items()}
        subjects = {name: one.config.get("subjects") or [] for name, one in begun.items()}
        for one in begun.values():
            if one.config.get("sources"):
                await snapshots.connect_sources(hub, one, subjects, replicas=server.size)
        return found

    def _begun(self, name: str) -> snapshots.Begun:
        try:
            begun = msgspec.json.decode(self._files[f"streams/{name}/backup.json"], type=snapshots.Begun)
        except (KeyError, msgspec.DecodeError):
            raise Failed(_WHAT, f"the backup does not say what the stream {name} is", "take another backup") from None
        if begun.config.get("name") != name:
            raise Failed(_WHAT, f"the stream {name} calls itself {begun.config.get('name')!r}: somebody made it up")
        return begun

    async def _stream(self, hub: Client, name: str, begun: snapshots.Begun, replicas: int) -> snapshots.State:
        part, gone = self._manifest.streams[name], 0

        def went(count: int) -> None:
            nonlocal gone
            gone += count
            if self._progress:
                self._progress(name, gone, part.snapshot.size)

        state = await snapshots.put_back(hub, begun, self._parts.of(name), replicas=replicas, progress=went)
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
