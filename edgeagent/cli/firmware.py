"""``edgeagent firmware``: what runs on microcontrollers."""

from __future__ import annotations

import typer

from edgeagent.cli import firmware_flash

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="The firmware of RP2040 boards: a Pico by USB, a Pico W by Wi-Fi too.\n\nExample: edgeagent firmware flash",
)

for part in (firmware_flash,):
    part.add_to(app)
