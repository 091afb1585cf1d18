"""What an MQTT client is told, gives and says of itself. Shapes only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgeagent.errors import EdgeError

__all__ = ["MAX_MESSAGE_BYTES", "MqttMessage", "MqttOptions", "MqttStatus", "Will"]

#: Larger messages are neither taken nor sent, in bytes of the payload. The leaf's stores take no more in one message.
MAX_MESSAGE_BYTES = 512 << 10


@dataclass(frozen=True, kw_only=True)
class Will:
    """topic: where it stands, retained if ``retain``. gone: what the broker says there when we are lost, and we say when we leave.
    here: what we say there at each connect; None: nothing."""

    topic: str
    gone: bytes
    here: bytes | None = None
    retain: bool = True


@dataclass(frozen=True, kw_only=True)
class MqttOptions:
    """Where a broker is and who we are to it. name: what it is called where something is wrong with it.

    client_id: stable, because the broker keeps our subscriptions and what came for them under it. tls: speak TLS, and check the broker's
    certificate with the authorities in ca_file (PEM; None: the system's). password_file is read anew at each try, and goes before
    password. keepalive_seconds: a broker that is silent is given up after twice that. queue: how many messages may wait for the broker.
    is_pinned: what is in ca_file is the broker's own certificate, good for it under any name.
    retry_seconds: bounds of the pause after a connection ended; refused_seconds: the least pause after the broker refused us.
    connect_seconds: how long the broker may take to let us in; ack_seconds: to acknowledge anything of what waits.
    """

    host: str
    port: int = 1883
    client_id: str
    name: str = "the broker"
    user: str = ""
    password: str = field(default="", repr=False)
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None
    is_pinned: bool = False
    keepalive_seconds: int = 30
    will: Will | None = None
    queue: int = 1000
    max_message_bytes: int = MAX_MESSAGE_BYTES
    retry_seconds: tuple[float, float] = (1.0, 60.0)
    refused_seconds: float = 30.0
    connect_seconds: float = 10.0
    ack_seconds: float = 60.0

    @property
    def where(self) -> str:
        """For people."""
        return f"{self.host}:{self.port}"


def _nothing() -> None:
    return


@dataclass(frozen=True)
class MqttMessage:
    """One that came. acknowledge: use :meth:`ack`."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    acknowledge: Callable[[], None] = field(default=_nothing, repr=False, compare=False)

    def ack(self) -> None:
        """Tell the broker that we have it, so that it forgets it; until then it sends a message of QoS 1 again after each connect. Nothing
        happens the second time, or when the connection on which it came has ended."""
        self.acknowledge()


@dataclass(frozen=True, kw_only=True)
class MqttStatus:
    """connected, and since when it is so or not, Unix seconds. problem: what is wrong, None: nothing is known to be.

    received: messages that came. oversized: those among them that were too large, and were not taken. sent: those that the broker has
    acknowledged, or that were written where it does not. waiting: for that. dropped: had no room, were too large, or were lost with a
    connection because their QoS is 0.
    """

    connected: bool = False
    since: float = 0.0
    problem: EdgeError | None = None
    received: int = 0
    oversized: int = 0
    sent: int = 0
    waiting: int = 0
    dropped: int = 0
