"""The operating system and the word sizes of its two halves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from edgeagent.builtin._kernel import present
from edgeagent.identity import hostname
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts

#: Programs that every Linux has, one after the other; on a relocated root an absolute symlink may lead nowhere.
_PROGRAMS = ("/usr/bin/env", "/bin/sh", "/bin/busybox", "/sbin/init")

#: Byte 4 of an ELF file, EI_CLASS (elf(5)).
_ELF_CLASS_BITS = {1: 32, 2: 64}


@facts(
    "system",
    Field("os.name", "string", "The distribution's id from os-release (`debian`, `raspbian`, `ubuntu`)."),
    Field("os.version", "string", "The distribution's version from os-release (`12`)."),
    Field("os.pretty", "string", "The distribution as people write it (`Debian GNU/Linux 12 (bookworm)`)."),
    Field("kernel", "string", "The running kernel's release (`6.12.25+rpt-rpi-v8`)."),
    Field("architecture", "string", "The kernel's machine name (`aarch64`, `armv7l`, `x86_64`)."),
    Field("userland_bits", "int", "Word size of the installed programs: 32 on many Pis whose kernel is 64-bit."),
    Field("hostname", "string", "The host name."),
)
def read(machine: Machine) -> Mapping[str, Any]:
    release = os_release(machine.text("/etc/os-release") or machine.text("/usr/lib/os-release") or "")
    return present(
        {
            "os.name": release.get("ID"),
            "os.version": release.get("VERSION_ID"),
            "os.pretty": release.get("PRETTY_NAME"),
            "kernel": machine.text("/proc/sys/kernel/osrelease"),
            "architecture": _architecture(machine),
            "userland_bits": _userland_bits(machine),
            "hostname": hostname(machine),
        }
    )


def os_release(text: str) -> dict[str, str]:
    """The assignments of os-release(5); quotes are taken off."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, equals, value in pairs if equals}


def _architecture(machine: Machine) -> str | None:
    # The file is there from Linux 6.1 on; uname says the same, unless this process runs as a 32-bit personality.
    return machine.text("/proc/sys/kernel/arch") or (os.uname().machine if machine.is_real else None)


def _userland_bits(machine: Machine) -> int | None:
    for program in _PROGRAMS:
        try:
            with machine.path(program).open("rb") as file:
                head = file.read(5)
        except OSError:
            continue
        if head.startswith(b"\x7fELF") and len(head) == 5:
            return _ELF_CLASS_BITS.get(head[4])
    return None
