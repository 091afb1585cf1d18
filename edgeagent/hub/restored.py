"""What a hub that was restored from a backup must not forget: whatever happened since, it says rather "no" than lets somebody in twice."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeagent import files, wire
from edgeagent.errors import EdgeError
from edgeagent.hub import register, tokens
from edgeagent.hub.keyring import DEVICE_SECONDS, Keyring
from edgeagent.hub.tokenstore import TokenStore
from edgeagent.link import Client
from edgeagent.trust import jwt

__all__ = ["forget_nothing", "newer_accounts", "outlived"]

#: nats-server takes none that is larger.
MAX_JWT_BYTES = 1 << 20


async def forget_nothing(hub: Client, *, keep_tokens: bool, taken: float, now: float) -> list[str]:
    """End the tokens that would let devices in, for they may have been used up since the backup, or revoked; their ids.

    Every device may have renewed its credentials since: whoever is revoked from now on stays so until those have ended too.
    hub: a connection to the account HUB. keep_tokens: end none. taken: when the backup was begun, now: both Unix seconds. Raises EdgeError.
    """
    for device in await register.every(hub):
        await register.change(hub, device, lambda record: outlived(record, taken, now), what=f"restore the record of {device}")
    ended: list[str] = []
    if not keep_tokens:
        store = TokenStore(hub)
        for token in await store.all():
            if not tokens.is_over(token, now):
                await store.change(token.id, lambda kept: msgspec.structs.replace(kept, revoked=True))
                ended.append(token.id)
    return ended


def outlived(record: wire.DeviceRecord, taken: float, now: float) -> wire.DeviceRecord | None:
    """The record of a device that may have a newer JWT for its key, which ends as late as one that is issued now, and that may be another
    board since the backup was ``taken``; None: as it was."""
    latest = int(now) + DEVICE_SECONDS
    older = {key: max(ends, latest) if ends else 0 for key, ends in register.keys_of(record).items()}
    as_of = max(int(taken), record.issued_at) if record.key else 0
    changed = msgspec.structs.replace(record, older=older, as_of=as_of)
    return None if changed == record else changed


def newer_accounts(keyring: Keyring, old: Path, new: Path) -> list[str]:
    """Take those accounts from the folder ``old`` that are newer than in ``new``: who was kept out there stays out. Their names.

    What is not of this hub, or cannot be read, is left.
    """
    taken = []
    for name, public in keyring.public.accounts.items():
        file = f"{public}.jwt"
        theirs = _read(old / file)  # once: the folder may be another user's, who may exchange it
        if _issued_at(theirs, keyring, public) > _issued_at(_read(new / file), keyring, public):
            files.write_atomic(new / file, theirs, 0o600)
            taken.append(name)
    return taken


def _read(path: Path) -> bytes:
    """Empty where it cannot be read."""
    try:
        return files.read_plain(path, MAX_JWT_BYTES)
    except OSError:
        return b""


def _issued_at(data: bytes, keyring: Keyring, public: str) -> int:
    """Unix seconds; -1 for none of ours."""
    try:
        claims = jwt.decode(data.decode("ascii").strip(), issuers=keyring.issuers())
    except (EdgeError, ValueError):
        return -1
    return int(claims.get("iat", 0)) if claims.get("sub") == public else -1
