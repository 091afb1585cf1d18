"""Which board this is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeagent.builtin._kernel import present
from edgeagent.identity import serial
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts


@facts(
    "hardware",
    Field(
        "model",
        "string",
        "The board, as its device tree says (`Raspberry Pi 4 Model B Rev 1.4`); on a PC, the firmware's product name.",
    ),
    Field("serial", "string", "The board's serial number, 16 hexadecimal digits on a Raspberry Pi."),
)
def read(machine: Machine) -> Mapping[str, Any]:
    model = machine.text("/proc/device-tree/model") or machine.text("/sys/class/dmi/id/product_name")
    return present({"model": model, "serial": serial(machine)})
