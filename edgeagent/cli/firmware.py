"""``edgeagent firmware``: what runs on RP2040 microcontrollers."""

from __future__ import annotations

import typer

from edgeagent.cli import firmware_flash, firmware_freeze, firmware_status, firmware_update

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="The firmware of microcontrollers (Raspberry Pi Pico, Pico W).\n\n"
    "ID is one on this device, DEVICE/ID one of the fleet.\n\nExample: edgeagent firmware status --all",
)

for part in (firmware_flash, firmware_update, firmware_status, firmware_freeze):
    part.add_to(app)
