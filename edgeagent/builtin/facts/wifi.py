"""The wireless link."""

from __future__ import annotations

import array
import fcntl
import re
import socket
import struct
from collections.abc import Mapping
from typing import Any

from edgeagent.builtin._kernel import present
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts

#: linux/wireless.h: ask for the network's name; its longest length in bytes.
_SIOCGIWESSID = 0x8B1B
_ESSID_BYTES = 32

#: The highest link quality that cfg80211 gives through this old interface (net/wireless/wext-compat.c).
_BEST_QUALITY = 70

#: ``wlan0: 0000   54.  -56.  -256 …``: interface, status, link quality, signal level.
_LINE = re.compile(r"\s*(?P<interface>\S+):\s+\S+\s+(?P<quality>-?\d+)\.?\s+(?P<level>-?\d+)\.?\s")


@facts(
    "wifi",
    Field("wifi.interface", "string", "The wireless interface."),
    Field("wifi.ssid", "string", "The name of the network it is on."),
    Field("wifi.signal_dbm", "int", "Received signal in dBm: -50 is strong, -80 is weak.", volatile=True),
    Field("wifi.link_quality", "double", "The driver's opinion of the link, 0 to 1.", volatile=True),
)
def read(machine: Machine) -> Mapping[str, Any]:
    found = first_link(machine.text("/proc/net/wireless") or "")
    if found is None:
        return {}
    interface, quality, level = found
    return present(
        {
            "wifi.interface": interface,
            "wifi.ssid": ssid(interface) if machine.is_real else None,
            "wifi.signal_dbm": level if level < 0 else None,
            "wifi.link_quality": round(min(max(quality / _BEST_QUALITY, 0.0), 1.0), 2),
        }
    )


def first_link(table: str) -> tuple[str, int, int] | None:
    """Interface, link quality and signal level (dBm; not below 0 = not known) of the first line of /proc/net/wireless."""
    for line in table.splitlines():
        match = _LINE.match(line + " ")
        if match:
            return match["interface"], int(match["quality"]), int(match["level"])
    return None


def ssid(interface: str) -> str | None:
    """The network that ``interface`` is on; None if it is on none or is not wireless."""
    essid = array.array("B", bytes(_ESSID_BYTES + 1))
    # struct iwreq is 32 bytes everywhere: the interface's name in 16 of them, then struct iw_point (pointer, length, flags).
    request = struct.pack("16sPHH", interface.encode(), essid.buffer_info()[0], _ESSID_BYTES, 0).ljust(32, b"\0")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            fcntl.ioctl(channel, _SIOCGIWESSID, request)
    except OSError:
        return None
    return essid.tobytes().rstrip(b"\0").decode("utf-8", "replace") or None
