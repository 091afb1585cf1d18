"""An operator's *contexts*: which hub, with which credentials. One of them is current; ``--context`` or $EDGEAGENT_CONTEXT chooses."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from edgeagent import files, places, subjects
from edgeagent.errors import Failed, UsageProblem

__all__ = ["Context", "current_name", "load", "names", "remove", "save", "use"]


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """url: where operators reach the hub, e.g. ``nats://hub.example:4222``. credentials: path of a .creds file."""

    name: str
    url: str
    credentials: str


def _folder() -> Path:
    return places.contexts_folder()


def _file(name: str) -> Path:
    if not subjects.is_token(name):
        raise UsageProblem(f"use the context {name!r}", "a context's name is made of letters, digits, '-' and '_'")
    return _folder() / f"{name}.json"


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


def use(name: str) -> None:
    """Make ``name`` the current context. Raises UsageProblem if there is none of that name."""
    load(name)
    files.write_atomic(_folder() / "current", f"{name}\n".encode(), 0o600)


def remove(name: str) -> None:
    """Forget the context; its credentials file stays."""
    _file(name).unlink(missing_ok=True)
    current = _folder() / "current"
    if current.exists() and current.read_text().strip() == name:
        current.unlink()
