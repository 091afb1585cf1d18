"""What devices do in the chaos of commands: a real program writes one line into the device's own file, and takes its time for it.

Agents load the actions as those of a stranger's package, by an entry point; ``exec`` runs the same program.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from edgeagent.actions import Arguments, Context, Outcome, action
from edgeagent.builtin.actions._outcome import carried_out
from edgeagent.patterns.programs import Program

__all__ = ["installed", "lines_of", "settings_text"]

ROOT = Path(__file__).parents[2]
#: The line is written in the middle: a kill may come before it and after it.
SCRIPT = '#!/bin/sh\nsleep "$1"\necho "$2" >> {out}\nsleep "$1"\n'


class Line(Arguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """seconds: before the line is written, and after it."""

    line: str
    seconds: float


async def _append(context: Context, args: Line) -> Outcome:
    program = context.settings.exec.allow[0][0]
    return await carried_out(context, Program(argv=(program, str(args.seconds), args.line)))


for _name, _more in (
    ("test.chaos.once", {}),
    ("test.chaos.again", {"idempotent": True}),
    ("test.chaos.beside", {"concurrent": True}),
):
    action(_name, arguments=Line, description="Of a test.", dangerous=True, timeout_seconds=60, **_more)(_append)  # type: ignore[arg-type]


@contextlib.contextmanager
def installed(folder: Path) -> Iterator[None]:
    """While the block runs, agents that are started find the actions. folder: for the package."""
    package = folder / "edgeagent_chaos-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: edgeagent-chaos\nVersion: 1\n")
    (package / "entry_points.txt").write_text(f"[edgeagent.actions]\nchaos = {__name__}\n")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), str(ROOT), *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def settings_text(folder: Path, device: str) -> str:
    """Lines for the end of the device's agent.toml; its program is made, below ``folder``."""
    program = folder / device / "append"
    program.parent.mkdir(0o700, parents=True, exist_ok=True)
    program.write_text(SCRIPT.format(out=folder / device / "lines"))
    program.chmod(0o755)
    user = pwd.getpwuid(os.geteuid()).pw_name
    return f"""
[commands]
allow = ["exec", "test.*"]
[exec]
enabled = true
allow = [[{json.dumps(str(program))}, "*", "*"]]
user = "{user}"
"""


def lines_of(folder: Path, device: str) -> list[str]:
    """What its program has written."""
    file = folder / device / "lines"
    return file.read_text().split() if file.exists() else []
