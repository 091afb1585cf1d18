"""What the agent and the helper that starts units (``edgeagent-actions.socket``) say to each other, and where they leave things.

One request a connection: a line of JSON, with a descriptor beside it where a file is handed over; one line is the answer, the same way.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import stat
import time
from typing import Any, Literal

import msgspec

from edgeagent.actions import Outcome
from edgeagent.errors import EdgeError, Failed, Refused, UsageProblem

__all__ = [
    "CONTENT",
    "END",
    "FOLDER",
    "REPORT",
    "REQUEST",
    "SOCKET",
    "Answer",
    "Order",
    "Request",
    "Told",
    "check_content",
    "is_id",
    "receive",
    "send",
    "told_of",
    "unit_name",
]

#: Where the helper listens, and where each unit has a folder of its own: gone after a reboot, as the units are.
SOCKET, FOLDER = "/run/edgeagent-actions.socket", "/run/edgeagent-actions"
#: In that folder: what it is to do, what it tells (:mod:`edgeagent.patterns.unitreport`), how systemd saw it end, what it is handed.
REQUEST, REPORT, END, CONTENT = "request", "report", "end", "content"

#: A command travels in a message of 256 KiB at most.
MAX_BYTES = 512 << 10

#: github.com/ulid/spec, and nothing that could be a path or another unit.
_ID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")


class Request(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """start: have ``action`` run. look: what can be seen without running it. stop: end it. state: whether it runs. forget: remove what
    it left; what still runs is stopped, and stays. device: for programs of the device's owner, who are told."""

    do: Literal["start", "look", "stop", "state", "forget"]
    id: str
    action: str = ""
    args: dict[str, Any] = {}
    device: str = ""


class Told(msgspec.Struct, omit_defaults=True):
    """An :class:`~edgeagent.actions.Outcome` on its way."""

    state: str
    reason: str = ""
    exit_code: int | None = None
    value: Any = None

    def outcome(self) -> Outcome:
        return Outcome(self.state, self.reason, self.exit_code, self.value)  # type: ignore[arg-type]  # judged by who takes it


class Answer(msgspec.Struct, omit_defaults=True):
    """error: its class (:mod:`edgeagent.errors`), with what, why and remedy; empty: done. outcome: of a look."""

    error: str = ""
    what: str = ""
    why: str = ""
    remedy: str = ""
    runs: bool = False
    outcome: Told | None = None

    def problem(self) -> EdgeError | None:
        kinds: dict[str, type[EdgeError]] = {"refused": Refused, "usage": UsageProblem}
        return kinds.get(self.error, Failed)(self.what, self.why, self.remedy) if self.error else None


class Order(msgspec.Struct, omit_defaults=True):
    """What a unit is told to do, by the helper. settings: the sections of agent.toml that it needs, as they were checked."""

    id: str
    action: str
    args: dict[str, Any]
    device: str = ""
    settings: dict[str, Any] = {}
    content: bool = False


def is_id(text: str) -> bool:
    """Whether it is the id of a command."""
    return _ID.match(text) is not None


def unit_name(command_id: str) -> str:
    return f"edgeagent-action-{command_id}.service"


def told_of(outcome: Outcome) -> Told:
    return Told(outcome.state, outcome.reason, outcome.exit_code, outcome.value)


def send(connection: socket.socket, message: msgspec.Struct, descriptor: int | None = None) -> None:
    """Raises OSError."""
    line = msgspec.json.encode(message) + b"\n"
    sent = socket.send_fds(connection, [line], [] if descriptor is None else [descriptor])
    if line[sent:]:
        connection.sendall(line[sent:])


def receive(connection: socket.socket, seconds: float) -> tuple[bytes, int | None]:
    """The line, and the descriptor that came with it. Raises OSError, ValueError for what is no such message."""
    deadline, line, descriptors = time.monotonic() + seconds, b"", list[int]()
    try:
        while not line.endswith(b"\n"):
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            data, found, _, _ = socket.recv_fds(connection, 64 << 10, 1)
            descriptors += found
            line += data
            if not data or len(line) > MAX_BYTES or len(descriptors) > 1:
                raise ValueError("the message has no end, or too much of it")
    except BaseException:
        for each in descriptors:
            os.close(each)
        raise
    return line, next(iter(descriptors), None)


def check_content(descriptor: int) -> None:
    """Raise Refused unless it is a plain file, opened to be read and nothing else."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_PATH or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise Refused("take what is handed over", "it is no plain file that was opened to be read")
