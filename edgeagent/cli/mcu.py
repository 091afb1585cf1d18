"""``edgeagent mcu``: microcontrollers behind devices."""

from __future__ import annotations

import typer

from edgeagent.cli import mcu_add, mcu_logs, mcu_ls, mcu_send, mcu_show

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Microcontrollers behind a device: by MQTT, USB or UART.\n\n"
    "ID is one on this device, DEVICE/ID one of the fleet.\n\nExample: edgeagent mcu ls --all",
)

for part in (mcu_ls, mcu_show, mcu_add, mcu_send, mcu_logs):
    part.add_to(app)
