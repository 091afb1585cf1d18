"""Whose signatures a device follows: the role keys that it was given at enrolment, as later changed by signed documents. Pure.

The hub is not asked: it can withhold a change, but not make one. See docs/security.md.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.errors import Failed

__all__ = ["Pins", "load"]

#: No fleet has so many signers and revoked logins.
MAX_BYTES = 16 << 20


class Pins(msgspec.Struct, frozen=True, kw_only=True):
    """``trust.json`` in the state folder.

    signers: public role key -> role. revoked: public user key -> Unix seconds; logins issued up to then sign nothing any more.
    floor: what was signed before, Unix seconds, is not followed. generation: of the document that said so; 0: as enrolled.
    """

    signers: dict[str, str] = {}
    revoked: dict[str, int] = {}
    floor: int = 0
    generation: int = 0
    v: int = 1

    def has_revoked(self, key: str, issued: int) -> bool:
        """Whether a login of the public user key, issued at so many Unix seconds, signs nothing any more."""
        return issued <= self.revoked.get(key, -1)


def load(path: Path) -> Pins:
    """The pins in ``path``; none at all when there is no such file. Raises Failed when it is damaged, EdgeError when it can't be read."""
    data = files.read_if_there(path, MAX_BYTES)
    if data is None:
        return Pins()
    try:
        return msgspec.json.decode(data, type=Pins)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(f"read {path}", str(error), "enrol the device again: `edgeagent enroll --force`") from None
