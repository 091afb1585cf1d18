"""What must be known of a broker after a restart: what was published for Home Assistant, what was subscribed, what was taken last."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import msgspec

from edgeagent import files
from edgeagent.errors import EdgeError

__all__ = ["BrokerState", "Login", "Taken"]

#: Of so many topics the last message is known, those that were heard last. One costs about 150 bytes.
MAX_TOPICS = 20_000


class Taken:
    """Tells a retained message that comes again at a connect from one that is new: the digest of the last message of each topic."""

    def __init__(self, known: dict[str, str]) -> None:
        self._known = OrderedDict(known)

    def is_old(self, topic: str, payload: bytes) -> bool:
        """Whether this is what was taken there last."""
        return self._known.get(topic) == _digest(payload)

    def add(self, topic: str, payload: bytes) -> None:
        self._known.pop(topic, None)
        self._known[topic] = _digest(payload)
        if len(self._known) > MAX_TOPICS:
            self._known.popitem(last=False)

    @property
    def known(self) -> dict[str, str]:
        return dict(self._known)


def _digest(payload: bytes) -> str:
    return hashlib.blake2b(payload, digest_size=6).hexdigest()


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """How the broker was reached, as :class:`~edgeagent.bridge.mqttshapes.MqttOptions` has it. The password is not here, only where it stood."""

    host: str
    port: int
    client_id: str
    user: str = ""
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""


class BrokerState(msgspec.Struct):
    """discovery: the topic of the description -> the entities in it, by their keys. filters: what was subscribed. taken: as
    :class:`Taken` has it. login: how the broker was reached; None: nobody said. base: below it is what we published."""

    login: Login | None = None
    base: str = ""
    discovery: dict[str, dict[str, dict[str, Any]]] = {}
    filters: list[str] = []
    taken: dict[str, str] = {}

    @classmethod
    def load(cls, path: Path) -> BrokerState:
        """An empty one when there is none, or it is damaged: then a retained message may be taken a second time."""
        try:
            return msgspec.json.decode(files.read_if_there(path) or b"{}", type=cls)
        except (EdgeError, ValueError):
            return cls()

    @property
    def where(self) -> str:
        """``host:port``; empty: not known."""
        return f"{self.login.host}:{self.login.port}" if self.login else ""

    @property
    def topics(self) -> list[str]:
        """Where something is retained that Home Assistant was told of, the descriptions first; none if it was told of nothing."""
        states = [
            str(each["state_topic"]) for table in self.discovery.values() for each in table.values() if "state_topic" in each
        ]
        presence = [f"{self.base}/state"] if self.discovery and self.base else []
        return list(dict.fromkeys([*self.discovery, *states, *presence]))

    def save(self, path: Path) -> None:
        """Raises EdgeError."""
        files.write_atomic(path, msgspec.json.encode(self), 0o600)
