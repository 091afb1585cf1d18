"""What the agent logs in with at its own leaf."""

from __future__ import annotations

from edgeagent.errors import Closed
from edgeagent.leaf.conf import AGENT_USER, LOCAL_USER, SYSTEM_USER
from edgeagent.leaf.mqttconf import AGENT_USER as MQTT_USER
from edgeagent.leaf.secrets import LeafSecrets

__all__ = ["LeafLogins"]


class LeafLogins:
    """User and password for each account. They raise Closed before the secrets are known."""

    def __init__(self) -> None:
        self._secrets: LeafSecrets | None = None

    @property
    def agent_login(self) -> tuple[str, str]:
        """All rights in the account of the link and of the streams."""
        return AGENT_USER, self.agent_password

    @property
    def local_login(self) -> tuple[str, str]:
        """The account of the local programs."""
        return LOCAL_USER, self.agent_password

    @property
    def mqtt_login(self) -> tuple[str, str]:
        """The account of MQTT: over MQTT all that microcontrollers and programs say, over NATS its streams."""
        return MQTT_USER, self.agent_password

    @property
    def sys_login(self) -> tuple[str, str]:
        """The leaf's system account."""
        return SYSTEM_USER, self.sys_password

    @property
    def agent_password(self) -> str:
        return self._known_secrets.agent

    @property
    def sys_password(self) -> str:
        return self._known_secrets.system

    @property
    def _known_secrets(self) -> LeafSecrets:
        if self._secrets is None:
            raise Closed("use the leaf", "it was not started")
        return self._secrets
