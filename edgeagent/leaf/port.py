"""Which port a managed leaf listens on: the wished one, or a free one when another program has it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.natsserver import ports

__all__ = ["choose"]

log = logging.getLogger(__name__)


class _Choice(msgspec.Struct, frozen=True):
    """The port that was used last, and the one that was wished for then."""

    wished: int
    port: int


def choose(
    keep: Path, wished: int, *, is_ours: Callable[[int], bool], lost: int, host: str = ports.HOST, what: str = "port"
) -> int:
    """The port used last if the wish has not changed since, else the wished one, else a free one.

    A port once chosen is kept, so that local programs find the leaf again after a restart.

    keep: the file in which the choice is kept. Raises EdgeError when it can't be read or written.
    is_ours: whether it is our own server that has the port, so that this is no obstacle.
    lost: the port because of which the last start failed, for another program was quicker to take it; 0: none.
    host: where it listens. what: the port, in words for the log.
    """
    kept = _kept(keep)
    port = kept.port if kept and kept.wished == wished else wished
    if not is_ours(port) and (port == lost or not ports.is_free(port, host)):
        port = wished if port != wished and ports.is_free(wished, host) else ports.pick(host)
        log.warning("another program uses the leaf's %s; it listens on %d (wished: %d)", what, port, wished)
    if kept != (choice := _Choice(wished, port)):
        files.write_atomic(keep, msgspec.json.encode(choice), 0o644, files.folders_owner(keep.parent))
    return port


def _kept(keep: Path) -> _Choice | None:
    with contextlib.suppress(msgspec.DecodeError):
        return msgspec.json.decode(files.read_if_there(keep) or b"", type=_Choice)
    return None
