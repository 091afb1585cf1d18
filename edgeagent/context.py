"""An operator's *contexts*: which hub, with which credentials. One of them is current; ``--context`` or $EDGEAGENT_CONTEXT chooses."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec

from edgeagent import files, places, servers, subjects
from edgeagent.errors import Failed, UsageProblem

__all__ = [
    "Context",
    "Handover",
    "authorities_file",
    "check_url",
    "credentials_file",
    "current_name",
    "load",
    "names",
    "remove",
    "role_keys_file",
    "save",
    "use",
    "write",
]

VERSION = 1
_URL = re.compile(r"(nats|tls|ws|wss)://[^/\s]+/?")


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """url: where operators reach the hub, e.g. ``nats://hub.example:4222``. credentials: path of a .creds file.

    authorities: path of a PEM file with the certificate authorities of the hub; empty: those of this system.
    role_keys: path of a file with the hub's role keys, as a device's trust.json has them; empty: nobody told them.
    """

    name: str
    url: str
    credentials: str
    authorities: str = ""
    role_keys: str = ""


class Handover(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one person is given to use a hub, in one file: `edgeagent operator add` writes it, `edgeagent context import` reads it.

    hub: its name. credentials: the text of a .creds file, so the file is secret. authorities: PEM; empty: those of any system.
    signers: public role key -> role: whose signatures the hub's devices follow; none in a file of an older edgeagent.
    """

    hub: str
    url: str
    credentials: str
    authorities: str = ""
    signers: dict[str, str] = {}
    v: int = VERSION

    def __repr__(self) -> str:
        return f"<handover of {self.hub} at {self.url}>"

    def format(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Handover:
        """path: where ``data`` was read, for the message. Raises Failed when it is none."""
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Failed(
                f"import {path}", "it is no file that `edgeagent operator add` made, or was not copied whole", "ask for it again"
            ) from None


def check_url(url: str) -> None:
    """Raise UsageProblem for what is no address of a hub. One without a scheme would be reached without TLS, which nobody means."""
    bad = [each for each in servers.split(url) or [url] if not _URL.fullmatch(each)]
    if bad:
        raise UsageProblem(
            "reach a hub there", f"{bad[0]!r} is no address of one", "write tls://hub.example:4222; several servers with commas"
        )


def _folder() -> Path:
    return places.contexts_folder()


def _file(name: str) -> Path:
    if not subjects.is_token(name):
        raise UsageProblem(f"use the context {name!r}", "a context's name is made of letters, digits, '-' and '_'")
    return _folder() / f"{name}.json"


def credentials_file(name: str) -> Path:
    """Where the credentials of the context are, if it was not told to use a file elsewhere."""
    return _file(name).with_suffix(".creds")


def authorities_file(name: str) -> Path:
    """The same of its certificate authorities."""
    return _file(name).with_suffix(".pem")


def role_keys_file(name: str) -> Path:
    """The same of the hub's role keys."""
    return _file(name).with_suffix(".trust")


def names() -> list[str]:
    """All contexts of this person, sorted."""
    return sorted(path.stem for path in _folder().glob("*.json") if subjects.is_token(path.stem))


def current_name() -> str | None:
    """The one that is used when none is named: $EDGEAGENT_CONTEXT, else what ``context use`` chose."""
    chosen = os.environ.get("EDGEAGENT_CONTEXT")
    if chosen:
        return chosen
    try:
        return (_folder() / "current").read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def load(named: str | None = None) -> Context:
    """The context called ``named``, or the current one. Raises UsageProblem saying how to make or choose one."""
    name = named or current_name()
    if name is None:
        raise UsageProblem(
            "reach a hub",
            "no context is chosen",
            "`edgeagent context ls` shows what there is, `edgeagent context add NAME --url URL --credentials FILE` makes one, `edgeagent hub init` too",
        )
    path = _file(name)
    if not path.exists():
        known = ", ".join(names()) or "none yet"
        raise UsageProblem(
            f"use the context {name!r}", f"there is no such context (known: {known})", "`edgeagent context add` makes one"
        )
    try:
        return msgspec.json.decode(path.read_bytes(), type=Context)
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise Failed(
            f"read the context in {path}", str(error), f"mend or delete the file and run `edgeagent context add {name}` again"
        ) from None


def save(context: Context, *, make_current: bool) -> None:
    files.make_folder(_folder(), 0o700)
    files.write_atomic(_file(context.name), msgspec.json.format(msgspec.json.encode(context), indent=2) + b"\n", 0o600)
    if make_current:
        use(context.name)


def write(name: str, handed: Handover, *, make_current: bool) -> Context:
    """Keep ``handed`` as the context ``name``, with files of its own, which are replaced. Raises EdgeError."""
    files.make_folder(_folder(), 0o700)
    credentials, authorities = credentials_file(name), authorities_file(name)
    files.write_atomic(credentials, handed.credentials.encode(), 0o600)
    if handed.authorities:
        files.write_atomic(authorities, handed.authorities.encode(), 0o600)
    made = Context(
        name=name,
        url=handed.url,
        credentials=str(credentials),
        authorities=str(authorities) if handed.authorities else "",
        role_keys=_write_role_keys(name, handed.signers),
    )
    save(made, make_current=make_current)
    return made


def _write_role_keys(name: str, signers: dict[str, str]) -> str:
    """Keep the role keys; their path, empty when there are none. The same ones stay, with what was followed since."""
    path = role_keys_file(name)
    if signers and _signers_in(path) != signers:
        files.write_atomic(path, msgspec.json.encode({"signers": signers}) + b"\n", 0o600)
    return str(path) if path.exists() else ""


def _signers_in(path: Path) -> object:
    try:
        return msgspec.json.decode(files.read_if_there(path) or b"{}", type=dict[str, Any]).get("signers")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def use(name: str) -> None:
    """Make ``name`` the current context. Raises UsageProblem if there is none of that name."""
    load(name)
    files.write_atomic(_folder() / "current", f"{name}\n".encode(), 0o600)


def remove(name: str) -> None:
    """Forget the context, and the files of its own; a credentials file elsewhere stays."""
    for path in (_file(name), credentials_file(name), authorities_file(name), role_keys_file(name)):
        path.unlink(missing_ok=True)
    current = _folder() / "current"
    if current.exists() and current.read_text().strip() == name:
        current.unlink()
