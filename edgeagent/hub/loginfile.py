"""Where new credentials are written: never over somebody else's, and not for good before they count."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edgeagent import files
from edgeagent.errors import EdgeError, Refused
from edgeagent.trust import creds, jwt
from edgeagent.trust.creds import Credentials

__all__ = ["check_replaceable", "same_user", "written"]


def check_replaceable(target: Path, login: Credentials) -> None:
    """Raise Refused unless ``target`` is free or holds older credentials of the same user of the same account."""
    there = files.read_if_there(target)
    if there is not None and not same_user(there.decode("utf-8", "replace"), login):
        raise Refused(
            f"write {target}",
            f"there is such a file already, and it does not hold older credentials of {login.name}",
            "move it away, or name another with --out",
        )


def same_user(text: str, login: Credentials) -> bool:
    """Whether ``text`` holds credentials, and they are of the user of ``login``: same name, same account."""
    try:
        return _user(creds.parse(text)) == _user(login)
    except EdgeError:
        return False


def _user(login: Credentials) -> tuple[str, str]:
    return str(jwt.claims(login.jwt)["nats"].get("issuer_account")), login.name


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
