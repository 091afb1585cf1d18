"""Whether the clock can be trusted. A Pi has no clock battery: until the network has set it, its time is a guess."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from typing import Any

from edgeagent.builtin._kernel import present
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts

#: Above this maximum error, in microseconds, nobody disciplines the clock (NTP_PHASE_LIMIT, linux/timex.h). timedatectl asks the
#: same (``ntp_synced`` in systemd's time-util.c). STA_UNSYNC is no use: chrony leaves it set so that the kernel spares the RTC.
_UNSYNCHRONIZED_MICROSECONDS = 16_000_000

_ZONES = "zoneinfo/"


class _Timex(ctypes.Structure):
    """The beginning of ``struct timex`` (adjtimex(2)), and room for the rest of it on any machine."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_char * 256),
    )


@facts(
    "clock",
    Field("clock.synchronized", "bool", "Something (timesyncd, chrony, ntpd) keeps the system clock right."),
    Field("clock.timezone", "string", "The time zone's name (`Europe/Berlin`)."),
)
def read(machine: Machine) -> Mapping[str, Any]:
    return present({"clock.synchronized": synchronized(machine), "clock.timezone": _timezone(machine)})


def synchronized(machine: Machine) -> bool | None:
    """Whether something keeps the system clock right, None when it can't be known."""
    if machine.is_real:
        error = maximum_error_microseconds()
        return None if error is None else error < _UNSYNCHRONIZED_MICROSECONDS
    # The kernel can only be asked about its own machine; timesyncd leaves a mark in a file.
    return True if machine.path("/run/systemd/timesync/synchronized").exists() else None


@cache
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def maximum_error_microseconds() -> int | None:
    """How wrong the system clock may be at most, None if the kernel does not say (a sandbox forbids the call)."""
    timex = _Timex()  # modes = 0: only read
    try:
        state = _c_library().adjtimex(ctypes.byref(timex))
    except (AttributeError, OSError):
        return None
    return None if state < 0 else int(timex.maxerror)


def _timezone(machine: Machine) -> str | None:
    try:
        target = str(machine.path("/etc/localtime").readlink())
    except OSError:
        target = ""
    return target.partition(_ZONES)[2] or machine.text("/etc/timezone")
