"""``enrolment.json``: which hub this device was let in by, as whom, and over which address. Written last, so where it is all else is too.

It stands for what a person would otherwise have to write into agent.toml, which goes before it.
"""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.errors import Failed, Refused

__all__ = [
    "AUTHORITIES_FILE",
    "ENROLMENT_FILE",
    "PRIVATE",
    "RENEWAL_FILE",
    "TRUST_FILE",
    "Enrolment",
    "check_private",
    "read",
    "read_if_allowed",
    "write",
]

#: Files in the state folder, beside the credentials themselves.
ENROLMENT_FILE = "enrolment.json"
RENEWAL_FILE = "renewal.creds"
TRUST_FILE = "trust.json"
AUTHORITIES_FILE = "authorities.pem"

#: No enrolment is so large.
MAX_BYTES = 4 << 20
#: What nobody but the agent's user may read or write: keys, passwords, and whom to trust.
PRIVATE = ("device.creds", RENEWAL_FILE, "secrets.json", TRUST_FILE, "enrolment.nk")


class Enrolment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """id: the device's. hub: the hub's name. urls: where the leaf links, as one of them worked when it was enrolled.

    proxy: the HTTP proxy on the way there, empty for none. enrolled_at: RFC 3339, by the hub's clock.
    groups, labels: as the hub gave them then.
    """

    id: str
    hub: str
    urls: list[str]
    proxy: str = ""
    enrolled_at: str = ""
    groups: list[str] = []
    labels: dict[str, str] = {}
    v: int = 1


def read(state_folder: Path) -> Enrolment | None:
    """None when this device was not enrolled. Raises EdgeError when the file can't be read or understood."""
    path = state_folder / ENROLMENT_FILE
    data = files.read_if_there(path, MAX_BYTES)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Enrolment)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(f"read {path}", f"it is damaged ({error})", "enrol this device again: `edgeagent enroll --force`") from None


def read_if_allowed(state_folder: Path) -> Enrolment | None:
    """Like :func:`read`; None also where we may not look: then we are not the agent, and `edgeagent status` needs no more."""
    try:
        return read(state_folder)
    except Refused:
        return None


def write(state_folder: Path, enrolment: Enrolment) -> None:
    """Raises EdgeError."""
    text = msgspec.json.format(msgspec.json.encode(enrolment), indent=1) + b"\n"
    files.write_atomic(state_folder / ENROLMENT_FILE, text, 0o600)


def check_private(state_folder: Path, *others: Path) -> None:
    """Raise Refused, with what to type, when somebody else on this machine could read a secret of the device, or change it.

    others: more files with secrets. What is not there is no danger.
    """
    for path in (state_folder, *(state_folder / name for name in PRIVATE), *others):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue  # who needs it says that it can't be read
        if mode & 0o077:
            kind, wanted = ("enter", 700) if path == state_folder else ("read", 600)
            raise Refused(f"use {path}", f"others on this machine can {kind} it (mode {mode:04o})", f"`chmod {wanted} {path}`")
