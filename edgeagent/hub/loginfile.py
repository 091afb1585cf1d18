"""Where new credentials are written: never over somebody else's, and not for good before they count."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edgeagent import files
from edgeagent.errors import EdgeError, Refused
from edgeagent.trust import creds, jwt
from edgeagent.trust.creds import Credentials

__all__ = ["check_replaceable", "written"]


def check_replaceable(target: Path, login: Credentials) -> None:
    """Raise Refused unless ``target`` is free or holds older credentials of the same user of the same account."""
    there = files.read_if_there(target)
    if there is not None and _user(there) != _user(login.format().encode()):
        raise Refused(
            f"write {target}",
            f"there is such a file already, and it does not hold older credentials of {login.name}",
            "move it away, or name another with --out",
        )


def _user(text: bytes) -> tuple[str, str] | None:
    """Account and name of the user whose credentials the text is, None when it is none."""
    try:
        found = creds.parse(text.decode())
        return str(jwt.claims(found.jwt)["nats"].get("issuer_account")), found.name
    except (EdgeError, UnicodeDecodeError):
        return None


@contextlib.contextmanager
def written(target: Path, login: Credentials) -> Iterator[None]:
    """``target`` holds the credentials while the block runs and after it, and what it held before if the block fails.

    The file comes first: a device that is registered but has no credentials would be worse than a file that is not.
    """
    before = files.read_if_there(target)
    files.write_atomic(target, login.format().encode(), 0o600)
    try:
        yield
    except BaseException:
        if before is None:
            target.unlink(missing_ok=True)
        else:
            files.write_atomic(target, before, 0o600)
        raise
