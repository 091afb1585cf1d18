"""NATS credentials files (``*.creds``): a user's JWT and the seed that belongs to it, in one text file.

nats-py reads such files itself only with the package ``nkeys``, which we do not ship; :func:`callbacks` takes its place.
"""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.subjects import is_id
from edgeagent.trust import jwt
from edgeagent.trust.nkeys import KeyPair

__all__ = [
    "ACTION_TAG",
    "GROUP_TAG",
    "UPLOAD_TAG",
    "Callbacks",
    "Credentials",
    "Login",
    "callbacks",
    "check_issued",
    "load",
    "parse",
    "peek",
    "unchecked",
]

#: The tag that puts a device into a group; role templates expand it as ``{{tag(group)}}``.
GROUP_TAG = "group"
#: The tag of a person's JWT that limits which commands it may sign, a glob; none at all means every command.
ACTION_TAG = "action"
#: The tag ``upload:*`` of a person who may store files for devices: a template cannot tell whether an action's glob fits.
UPLOAD_TAG = "upload"

_WARNING = """\
************************* IMPORTANT *************************
Whoever has the seed below is this user. Keep this file secret.
"""
_PART = re.compile(r"-{3,}BEGIN ([A-Z ]+)-{3,}\s*([A-Za-z0-9_.-]+?)\s*-{3,}END \1-{3,}")
_JWT_PART, _SEED_PART = "NATS USER JWT", "USER NKEY SEED"

#: ``(user_jwt_cb, signature_cb)`` of ``nats.connect``.
Callbacks = tuple[Callable[[], bytes], Callable[[str], bytes]]


@dataclass(frozen=True)
class Credentials:
    """A user's JWT and seed. ``repr`` shows neither."""

    jwt: str = field(repr=False)
    seed: str = field(repr=False)

    @cached_property
    def _claims(self) -> dict[str, Any]:
        return jwt.claims(self.jwt)

    @property
    def name(self) -> str:
        """The device's id or the person's name."""
        return str(self._claims.get("name", ""))

    @property
    def public_key(self) -> str:
        return str(self._claims.get("sub", ""))

    @property
    def groups(self) -> tuple[str, ...]:
        """The device's groups, in the order in which the hub gave them (their config applies in it). What is no name of one is none."""
        return tuple(group for group in jwt.tags(self._claims).get(GROUP_TAG, ()) if is_id(group))

    @property
    def issued_at(self) -> int:
        """Unix seconds."""
        return int(self._claims.get("iat", 0))

    @property
    def expires_at(self) -> int | None:
        """Unix seconds, None when they never expire."""
        return self._claims.get("exp")

    @property
    def not_before(self) -> int | None:
        """Unix seconds from which on they count, None when that is not said."""
        return self._claims.get("nbf")

    def format(self) -> str:
        """The text of a .creds file, as nats-server and every NATS client read it."""
        return (
            f"-----BEGIN {_JWT_PART}-----\n{self.jwt}\n------END {_JWT_PART}------\n\n{_WARNING}\n"
            f"-----BEGIN {_SEED_PART}-----\n{self.seed}\n------END {_SEED_PART}------\n"
        )


def parse(text: str) -> Credentials:
    """Read the text of a .creds file. Raises Failed when it is none, or when the seed is not the JWT's."""
    parts: dict[str, str] = dict(_PART.findall(text))
    if _JWT_PART not in parts or _SEED_PART not in parts:
        raise Failed("read credentials", "the text has no NATS user JWT and seed")
    credentials = Credentials(parts[_JWT_PART], parts[_SEED_PART])
    try:
        public, owner = KeyPair.from_seed(credentials.seed).public, credentials.public_key
    except EdgeError as error:
        raise Failed("read credentials", f"{error.what.removeprefix('read ')}: {error.why}") from None
    if public != owner:
        raise Failed("read credentials", "the seed belongs to another user than the JWT")
    return credentials


def load(path: Path) -> Credentials:
    """Read a .creds file that nobody but its owner can read.

    Raises Failed when it is missing or none, Refused when we may not read it or others may.
    """
    try:
        return parse(_text(path))
    except EdgeError as error:
        if error.what != "read credentials":
            raise
        raise Failed(f"read the credentials {path}", error.why, "it must be the whole file that the hub made (.creds)") from None


def _text(path: Path) -> str:
    what = f"read the credentials {path}"
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read()
    except FileNotFoundError:
        raise Failed(what, "there is no such file", "ask whoever runs the hub for them, and put them there") from None
    except PermissionError:
        raise Refused(what, "this user may not", "run as the user that owns the file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(what, str(error)) from None
    if mode & 0o077:
        raise Refused(what, f"others on this machine can read the seed (mode {mode:04o})", f"`chmod 600 {path}`")
    return text


def callbacks(credentials: Credentials) -> Callbacks:
    """``(user_jwt_cb, signature_cb)`` for ``nats.connect``."""
    key = KeyPair.from_seed(credentials.seed)

    def sign(nonce: str) -> bytes:
        return base64.urlsafe_b64encode(key.sign(nonce.encode())).rstrip(b"=")

    return credentials.jwt.encode, sign


@dataclass(frozen=True)
class Login:
    """Who a credentials file says its owner is; not checked against the seed, so not proof of anything.

    issued_at, expires_at: Unix seconds; None never expires.
    """

    name: str
    groups: tuple[str, ...]
    expires_at: int | None
    public_key: str = ""
    issued_at: int = 0


def peek(path: Path) -> Login:
    """Read the name, groups and expiry out of a .creds file without touching the key. Raises as :func:`load`."""
    found = unchecked(path)
    return Login(found.name, found.groups, found.expires_at, found.public_key, found.issued_at)


def unchecked(path: Path) -> Credentials:
    """Like :func:`load`, without looking whether the seed is the JWT's.

    A device lets its nats-server log in with the file; checking it would load a crypto library of 8 MB for nothing.
    """
    parts: dict[str, str] = dict(_PART.findall(_text(path)))
    if _JWT_PART not in parts or _SEED_PART not in parts:
        raise Failed(
            f"read the credentials {path}", "it is no credentials file", "it must be the whole file that the hub made (.creds)"
        )
    try:
        KeyPair.from_seed(parts[_SEED_PART])  # a checksum: no crypto library is loaded for that
    except EdgeError:
        raise Failed(
            f"read the credentials {path}", "its seed is damaged", "enrol this device again: `edgeagent enroll --force`"
        ) from None
    return Credentials(parts[_JWT_PART], parts[_SEED_PART])


def check_issued(token: str, *, key: str, name: str, what: str) -> None:
    """Raise Refused unless the JWT that somebody gave us is for the user ``key`` of this name, and its groups are names of groups.

    Who signed it is its server's business.

    what: as for :class:`EdgeError`.
    """
    try:
        read = jwt.claims(token)
    except EdgeError:
        raise Refused(what, "what the hub answered is no JWT") from None
    for word, found, wanted in (("key", read.get("sub"), key), ("id", read.get("name"), name)):
        if found != wanted:
            raise Refused(what, f"the hub answered with the JWT of another {word} ({found!r} instead of {wanted!r})")
    if read["nats"].get("type") != "user":
        raise Refused(what, "the hub answered with a JWT that is no user's")
    for group in jwt.tags(read).get(GROUP_TAG, ()):
        if not is_id(group):
            raise Refused(what, f"the hub answered with a JWT for {group!r}, which is no name of a group")
