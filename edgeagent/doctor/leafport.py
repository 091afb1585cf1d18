"""Who listens where the leaf should: the leaf, another program, or nobody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeagent.assembly.findings import Finding
from edgeagent.doctor.check import Case, Check, Patient
from edgeagent.doctor.observed import running
from edgeagent.errors import EdgeError
from edgeagent.identity import device_id
from edgeagent.machine import Machine
from edgeagent.natsserver import ports
from edgeagent.status import MqttStatus

__all__ = ["PORT", "Answering", "Taken", "answering", "holder", "judge", "listens_at", "read"]

GOOD = Case("good", "no other program has {ports}")
TAKEN = Case(
    "wrong",
    "{wished} for {what} is another program's: {who}",
    "end that program, or set another `{key}` in agent.toml; then restart the agent and its leaf",
    "Programs that use the port reach the other program. A managed leaf uses a free port meanwhile, which `edgeagent status` shows.",
)

_SOMEBODY = "`sudo edgeagent doctor` says which"


@dataclass(frozen=True)
class Answering:
    """port: where the leaf should be. server_name, version: of the nats-server that answers there, empty: none does. id: of this device."""

    port: int
    server_name: str = ""
    version: str = ""
    id: str = ""

    @property
    def is_ours(self) -> bool:
        return bool(self.id) and self.server_name.startswith(f"{self.id}-")


@dataclass(frozen=True)
class Taken:
    """A port that was set for the leaf, and which other program has it (its name and pid; empty: nobody else)."""

    what: str
    key: str
    port: int
    by: str = ""


def answering(patient: Patient) -> Answering:
    seen = running(patient)
    port = seen.leaf.port if seen and seen.leaf.port else patient.settings.leaf.port
    found = asyncio.run(ports.banner(port)) or {}
    name, version = str(found.get("server_name", "")), str(found.get("version", ""))
    with contextlib.suppress(EdgeError):
        return Answering(port, name, version, seen.id if seen else device_id(patient.machine, patient.settings.device.id))
    return Answering(port, name, version)


def read(patient: Patient) -> list[Taken]:
    seen, own = running(patient), patient.settings
    wanted = [("local programs", "leaf.port", own.leaf.port, _leafs_own(patient))]
    mqtt: MqttStatus | None = seen.leaf.mqtt if seen else None
    if mqtt:
        wanted.append(("MQTT", "mqtt.port", mqtt.wished_port, mqtt.port == mqtt.wished_port))
    return [Taken(what, key, port, "" if ours else holder(patient.machine, port)) for what, key, port, ours in wanted]


def _leafs_own(patient: Patient) -> bool:
    """Whether the leaf itself answers at the port that was set."""
    found = answering(patient)
    wished = patient.settings.leaf.port
    if found.port == wished:
        return found.is_ours
    banner = asyncio.run(ports.banner(wished)) or {}
    return bool(found.id) and str(banner.get("server_name", "")).startswith(f"{found.id}-")


def holder(machine: Machine, port: int) -> str:
    """The program that listens at the port: ``mosquitto (pid 812)``; empty when nobody does."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in listens_at(machine.text(f"/proc/net/{table}") or "", port)}
    if not inodes:
        return ""
    for process in machine.path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended, or is another user's
            if any(_inode(entry) in inodes for entry in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return _SOMEBODY


def listens_at(table: str, port: int) -> Iterator[str]:
    """Inodes of the sockets that listen at the port on loopback or on every address. table: /proc/net/tcp or tcp6, proc(5)."""
    for line in table.splitlines()[1:]:
        row = line.split()
        address, _, number = row[1].partition(":")
        if row[3] == "0A" and int(number, 16) == port and _is_local(address):
            yield row[9]


def _is_local(address: str) -> bool:
    """Whether who connects to 127.0.0.1 comes there; the kernel writes addresses as words of the machine, here little-endian."""
    return not address.strip("0") or address.endswith("0100007F")


def _inode(entry: Path) -> str:
    with contextlib.suppress(OSError):
        return str(entry.readlink()).removeprefix("socket:[").removesuffix("]")
    return ""


def judge(found: list[Taken]) -> Iterator[Finding]:
    taken = [each for each in found if each.by]
    yield from (TAKEN(wished=each.port, what=each.what, who=each.by, key=each.key) for each in taken)
    if not taken:
        yield GOOD(ports=", ".join(f"{each.port} for {each.what}" for each in found))


PORT = Check(
    "port",
    "Whether another program has a port that agent.toml sets for the leaf, and which (`leaf.port`, and `mqtt.port` where MQTT is on).",
    (read,),
    judge,
    (GOOD, TAKEN),
)
