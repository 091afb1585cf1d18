"""The options that the commands which command devices share, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from edgeagent.cli.completion import devices
from edgeagent.errors import UsageProblem

__all__ = [
    "DryRun",
    "Everybody",
    "Expires",
    "How",
    "Ids",
    "Max",
    "Note",
    "Splay",
    "Wait",
    "WaitSeconds",
    "Yes",
    "seconds",
]


def seconds(text: str) -> float:
    """``30s``, ``10m``, ``1h30m``, ``7d``, for options. Raises typer.BadParameter, which names the option and exits with 2."""
    from edgeagent.fleet.commandtext import seconds_of

    try:
        return seconds_of(text)
    except UsageProblem as error:
        raise typer.BadParameter(f"{error.why}: {error.remedy}") from None


Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]", help="Devices; the same as -d.", autocompletion=devices)]
Everybody = Annotated[bool, typer.Option("--all", help="All devices.")]
Expires = Annotated[
    float | None,
    typer.Option("--expires", help="How long it may wait for a device: 30s, 10m, 1h30m, 7d.", parser=seconds, metavar="TIME"),
]
Splay = Annotated[
    float | None,
    typer.Option("--splay", help="Spread the devices over this time; each waits its own part.", parser=seconds, metavar="TIME"),
]
Max = Annotated[int | None, typer.Option("--max", help="Do nothing if more devices than this would be hit.", min=1)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show who would be hit.")]
Note = Annotated[str, typer.Option("--note", "-m", help="Why, for the others.", metavar="TEXT")]
Wait = Annotated[
    bool | None,
    typer.Option(
        "--wait/--detach",
        help="Wait for the end on every device and exit with 0 if all succeeded, 3 if some did not, 4 if some have not answered. "
        "On a terminal it waits unless told otherwise; Ctrl-C only stops watching.",
        show_default=False,
    ),
]
WaitSeconds = Annotated[
    float | None,
    typer.Option("--timeout", help="The longest to wait, in seconds; until it expires if not given.", min=0.05, max=604_800),
]


@dataclass(frozen=True, kw_only=True)
class How:
    """Whom a command is for, and how to send and follow it, as it was typed.

    wait: None when nothing was said of it. ends: Ctrl-C ends the command too, and not only the watching.
    """

    devices: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    labels: Sequence[str] | None = None
    where: str = ""
    everybody: bool = False
    expires: float | None = None
    splay: float | None = None
    most: int | None = None
    yes: bool = False
    dry: bool = False
    note: str = ""
    wait: bool | None = None
    ends: bool = False
    timeout: float | None = None
    as_json: bool = False
    context: str | None = None

    def wish(self) -> dict[str, Any]:
        """The arguments of :meth:`Commands.prepare <edgeagent.fleet.commands.Commands.prepare>`."""
        return {
            "devices": self.devices or (),
            "groups": self.groups or (),
            "labels": self.labels or (),
            "where": self.where,
            "everybody": self.everybody,
            "expires_seconds": self.expires,
            "splay_seconds": self.splay or 0.0,
            "note": self.note,
            "most": self.most,
        }
