"""The status file: what the agent last knew of itself, readable by any user, without the agent and without a link."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.errors import EdgeError, Failed, Unreachable
from edgeagent.wire import LinkRepairs

__all__ = [
    "MAX_BYTES",
    "UNACKNOWLEDGED",
    "BrokerStatus",
    "CollectorStatus",
    "CommandsStatus",
    "CredentialsStatus",
    "ForwardStatus",
    "LeafStatus",
    "LinkStatus",
    "McuStatus",
    "MqttStatus",
    "Problem",
    "SamplingStatus",
    "Status",
    "is_running",
    "read",
    "write",
]


#: How the problem with a link begins of which nothing better is known.
UNACKNOWLEDGED = "the hub does not acknowledge"
#: No agent's status is so large.
MAX_BYTES = 4 << 20


class Problem(msgspec.Struct, frozen=True):
    """what: what is wrong, one sentence. remedy: the next step. about: ``link`` or ``leaf`` where it is of one of these; empty: of another part."""

    what: str
    remedy: str = ""
    about: str = ""


class MqttStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where the leaf takes MQTT clients. wished_port: what was set."""

    host: str
    port: int
    wished_port: int
    tls: bool = False


class LeafStatus(msgspec.Struct, frozen=True, kw_only=True):
    """state: of the supervisor (``running``, ``backing_off`` ...). port: where local programs connect; wished_port: what was set.
    mqtt: None: it takes no MQTT clients, for nobody has a login, or because of a problem."""

    mode: str
    state: str
    port: int = 0
    wished_port: int = 0
    pid: int = 0
    version: str = ""
    restarts: int = 0
    mqtt: MqttStatus | None = None


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """up: the hub acknowledged the last heartbeat. since: of this state, RFC 3339. acknowledged: the last time that it did.
    repairs: what was done about links that looked up and carried nothing."""

    up: bool
    hub: str = ""
    since: str = ""
    acknowledged: str = ""
    repairs: LinkRepairs = LinkRepairs()


class CredentialsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """hub: the name of the one that the device was enrolled with, and enrolled_at when; both empty where a person put them there.

    expires, renews: until when they are good, and when the device asks for new ones; empty: they never expire. All times RFC 3339.
    renewing: the leaf links only to ask for new ones, because the hub accepts these no longer.
    """

    hub: str = ""
    enrolled_at: str = ""
    expires: str = ""
    renews: str = ""
    renewing: bool = False


class CommandsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Of the commands on this device: how many have not begun, run, and have ended without the hub's knowledge. last: the action of the
    newest that ended, how it did and when, RFC 3339; all empty: none has."""

    waiting: int = 0
    running: int = 0
    unreported: int = 0
    last: str = ""
    last_state: str = ""
    last_ended: str = ""


class CollectorStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One collector since the agent started. runs, failures: how often it ran, and how often it failed or was cut off. samples: of all runs.

    seconds: what its last run took. malformed: lines of a program that were no samples. error: why the last run failed; empty: it
    did not. stuck: the last run has not come back.
    """

    name: str
    runs: int = 0
    failures: int = 0
    samples: int = 0
    seconds: float = 0.0
    malformed: int = 0
    error: str = ""
    stuck: bool = False


class RaisedAlert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One alert and series that is raised. alert: with its attributes. value: which made it so. condition: of its rule. since: Unix time."""

    alert: str
    severity: str
    value: float
    condition: str
    since: float


class SamplingStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the device measures itself. waiting, dropped: samples that the leaf's store does not take now, and never
    will. alerts: the names of those that are raised; raised: some of them, the oldest first."""

    collectors: list[CollectorStatus] = []
    waiting: int = 0
    dropped: int = 0
    alerts: list[str] = []
    raised: list[RaisedAlert] = []


class BrokerStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An MQTT broker of the device's owner. where: its address. connected: and since when it is so or not, RFC 3339.

    taken: messages that came and were stored. sent: that it acknowledged. waiting: for it. dropped: either way. malformed: that could
    not be read, and the topic of the last of them. asked: how often an action was asked for.
    """

    where: str
    connected: bool = False
    since: str = ""
    taken: int = 0
    sent: int = 0
    waiting: int = 0
    dropped: int = 0
    malformed: int = 0
    unreadable: str = ""
    asked: int = 0


class ForwardStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Of the messages in one local stream, as of the last look: how many were sent, wait, and were dropped, by cause.

    known: the hub was asked; before that nothing but ``waiting`` is true, and that at most. acknowledged: when the hub last took some,
    Unix seconds by this device's clock; 0: not since the agent started. rate: messages a second that were sent in the last minute.
    epoch: how often the stream began anew.
    """

    known: bool = False
    forwarded: int = 0
    waiting: int = 0
    dropped: dict[str, int] = {}
    acknowledged: float = 0.0
    rate: float = 0.0
    epoch: int = 0


class McuStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One microcontroller. state: ``online``, ``silent`` (its way is there, and it says nothing), ``offline``, or ``found`` (plugged in, and
    nobody's: `edgeagent mcu add`). kind: of its way, ``usb``, ``uart`` or ``mqtt``; where: which one.

    actions: the commands that it knows. heard: when it last spoke, and since: of this state, Unix seconds; 0: not since the agent started.
    readings: that were taken since then. lost: that it dropped itself before they could be. malformed: that were no samples, and messages
    that made no sense. damaged: frames. waiting: plain samples and readings that the leaf's store does not have yet. dropped: plain samples
    that had no room to wait. bad: the version of its firmware that it went back from.
    """

    id: str
    state: str
    kind: str = ""
    where: str = ""
    firmware: str = ""
    hardware: str = ""
    boot: str = ""
    actions: list[str] = []
    heard: float = 0.0
    since: float = 0.0
    readings: int = 0
    lost: int = 0
    malformed: int = 0
    damaged: int = 0
    waiting: int = 0
    dropped: int = 0
    bad: str = ""
    problem: str = ""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    version: str
    pid: int
    started: str
    written: str
    leaf: LeafStatus
    link: LinkStatus
    credentials: CredentialsStatus | None = None
    groups: list[str] = []
    queries_answered: int = 0
    waiting: dict[str, int] = {}
    commands: CommandsStatus = CommandsStatus()
    sampling: SamplingStatus | None = None
    mcus: list[McuStatus] = []
    forward: dict[str, ForwardStatus] = {}
    brokers: dict[str, BrokerStatus] = {}
    problems: list[Problem] = []
    v: int = 1


def write(path: Path, status: Status) -> None:
    """Replace the status file; a full or read-only disk is no reason to stop (the log has said so)."""
    with contextlib.suppress(EdgeError):
        files.write_atomic(path, msgspec.json.format(msgspec.json.encode(status), indent=1) + b"\n", 0o644)


def read(path: Path) -> Status:
    """Raises Unreachable when there is none: the agent never ran here."""
    try:
        return msgspec.json.decode(files.read_plain(path, MAX_BYTES), type=Status)
    except FileNotFoundError:
        raise Unreachable(
            "read the agent's status",
            f"there is no {path}: the agent has not run here",
            "start it: `edgeagent run`, or `sudo systemctl start edgeagent` where it is a service",
        ) from None
    except PermissionError:
        raise Unreachable("read the agent's status", f"you may not read {path}", "ask its owner, or use sudo") from None
    except OSError as error:
        raise files.failure("read the agent's status", error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(
            "read the agent's status", f"{path} is damaged ({error})", "restart the agent; it writes a new one"
        ) from None


def is_running(status: Status, proc: Path = Path("/proc")) -> bool:
    """Whether the process that wrote the status still runs (and is not another one with its number)."""
    try:
        words = (proc / str(status.pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(b"edgeagent" in word for word in words)
