"""``edgeagent hub doctor``: what may be wrong with the hub of this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeagent import places
from edgeagent.cli import running
from edgeagent.cli.findings import show
from edgeagent.cli.options import HubDir

__all__ = ["doctor"]


def doctor(folder: HubDir = None, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Look for what is wrong with the hub of this machine, or soon will be. Exits with 1 when something is wrong.

    Example: edgeagent hub doctor
    """
    from edgeagent.assembly.hubdoctor import examine
    from edgeagent.hub.folder import HubFolder

    findings = running.run(examine(HubFolder((folder or places.hub_folder()).absolute())))
    show(findings, as_json=as_json)
