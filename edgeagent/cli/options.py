"""The options that several commands share, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeagent.cli import completion
from edgeagent.cli.table import Form

__all__ = [
    "Cached",
    "ContextName",
    "Devices",
    "Groups",
    "HubDir",
    "Json",
    "Labels",
    "Output",
    "OwnerKeys",
    "SettingsFile",
    "Strict",
    "Timeout",
    "Where",
]


ContextName = Annotated[
    str | None,
    typer.Option("--context", help="Which hub, as `edgeagent context ls` names it.", autocompletion=completion.contexts),
]
Devices = Annotated[
    list[str] | None,
    typer.Option("-d", "--device", help="Only this device (repeatable).", metavar="ID", autocompletion=completion.devices),
]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "-g", "--group", help="Only devices of this group (repeatable).", metavar="GROUP", autocompletion=completion.groups
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("-l", "--label", help="Only devices with this label (repeatable; all must hold).", metavar="KEY=VALUE"),
]
Where = Annotated[str, typer.Option("--where", help="Only devices for which this CEL expression holds.", metavar="CEL")]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", help="The longest to wait for answers, in seconds.", min=0.05, max=60, envvar="EDGEAGENT_QUERY_TIMEOUT"
    ),
]
Cached = Annotated[bool, typer.Option("--cached", help="From the hub's reports only; no device is woken.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 3 unless every device that was expected to answer did.")]
Output = Annotated[Form, typer.Option("-o", "--output", help="The form of the output.")]
Json = Annotated[bool, typer.Option("--json", help="The same as -o json.")]
HubDir = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        help="The hub's folder: if not given, $EDGEAGENT_HUB_DIR, else root's /var/lib/edgeagent-hub or your own.",
        metavar="DIR",
    ),
]
OwnerKeys = Annotated[
    Path | None,
    typer.Option("--keys", help="The owner's file; if not given, the one of that hub in your own configuration.", metavar="FILE"),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option("-s", "--settings", help="The settings file (agent.toml).", metavar="FILE", envvar="EDGEAGENT_SETTINGS"),
]
