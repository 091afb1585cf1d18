"""The passwords of the leaf's users, made once at random and kept: its users' passwords."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

import msgspec

from edgeagent import files

__all__ = ["LeafSecrets", "load", "load_or_make"]

log = logging.getLogger(__name__)


class LeafSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """agent, app, system: passwords of those users of the leaf."""

    agent: str
    app: str
    system: str


def load(path: Path) -> LeafSecrets | None:
    """The secrets in ``path``; None when there are none or they can't be understood. Raises EdgeError when the file can't be read."""
    data = files.read_if_there(path)
    try:
        return msgspec.json.decode(data, type=LeafSecrets) if data is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("%s is damaged (%s); the leaf gets new passwords at its next start", path, error)
        return None


def load_or_make(path: Path) -> LeafSecrets:
    """The secrets in ``path``; new ones, written there with mode 0600, when there are none or they can't be understood.

    Raises EdgeError when the file can't be read or written.
    """
    found = load(path)
    if found is not None:
        return found
    made = LeafSecrets(
        agent=secrets.token_urlsafe(24),
        app=secrets.token_urlsafe(24),
        system=secrets.token_urlsafe(24),
    )
    files.write_atomic(path, msgspec.json.encode(made), 0o600)
    return made
