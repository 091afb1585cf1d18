"""Which processes a run started: of its session, or, wherever they went, those that carry its mark. Reads /proc."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edgeagent.patterns.programs import MARK

__all__ = ["started_by"]


def started_by(leader: int, mark: str = "") -> Iterator[int]:
    """The processes of the session that ``leader`` began; with a mark also whoever carries that in its environment.

    Not what has ended and only was not waited for, nor what has both left the session and thrown its environment away: to find that too the
    agent would have to adopt all orphans (PR_SET_CHILD_SUBREAPER), daemons that a command was asked to start among them. Those whose environment we may not read are known by their session alone.
    """
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError):
            # proc(5): after the name in parentheses come state, parent, group, session.
            state, _, group, session = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:4]
            if state in "ZX":
                continue
            if leader in (int(group), int(session)) or (mark and wanted in (entry / "environ").read_bytes().split(b"\0")):
                yield int(entry.name)
