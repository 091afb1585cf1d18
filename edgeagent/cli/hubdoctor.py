"""``edgeagent hub doctor``: what may be wrong with the hub of this machine."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from edgeagent import places
from edgeagent.cli import running
from edgeagent.cli.options import HubDir

__all__ = ["doctor"]

_WORDS = {"good": "ok     ", "warn": "WARN   ", "wrong": "WRONG  "}


def doctor(folder: HubDir = None, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Look for what is wrong with the hub of this machine, or soon will be. Exits with 1 when something is wrong.

    Example: edgeagent hub doctor
    """
    from edgeagent.assembly.hubdoctor import examine
    from edgeagent.hub.folder import HubFolder

    findings = running.run(examine(HubFolder((folder or places.hub_folder()).absolute())))
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            typer.echo(f"{_WORDS[finding.level]}{finding.text}")
            if finding.remedy and not finding.good:
                typer.echo(f"       {finding.remedy}")
    if any(finding.level == "wrong" for finding in findings):
        raise typer.Exit(1)
