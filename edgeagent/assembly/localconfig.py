"""The configuration as it is on this device: read from its own files, so without a link and without the agent."""

from __future__ import annotations

from dataclasses import dataclass

from edgeagent import lastgood
from edgeagent.config import Value, with_config
from edgeagent.errors import EdgeError
from edgeagent.identity import device_id
from edgeagent.lastgood import Kept
from edgeagent.machine import Machine
from edgeagent.settings import Settings
from edgeagent.subjects import scopes_of
from edgeagent.trust import creds

__all__ = ["LocalConfig", "effective", "read"]

#: What an agent makes at its first start, and keeps.
SECRETS = "secrets.json"


@dataclass(frozen=True, kw_only=True)
class LocalConfig:
    """values: every key's, by its dotted name. documents: what is kept, by scope. left: the scopes of those that do not count,
    because the device is no longer in their group. has_run: whether an agent has ever run with these settings.
    """

    values: dict[str, Value]
    documents: dict[str, Kept]
    left: frozenset[str]
    has_run: bool


def read(settings: Settings, machine: Machine | None = None) -> LocalConfig:
    """What the agent follows, or will follow when it starts without a link. Raises EdgeError when a file is damaged or closed to us."""
    documents = lastgood.load(settings.state_folder)
    name, groups = device_id(machine or Machine(), settings.device.id), _groups(settings)
    counting = {str(scope) for scope in scopes_of(name, groups)}
    return LocalConfig(
        values=lastgood.effective(settings, name, groups, documents),
        documents=documents,
        left=frozenset({*documents} - counting),
        has_run=bool(documents) or settings.status_file.exists() or (settings.state_folder / SECRETS).exists(),
    )


def effective(settings: Settings) -> Settings:
    """The settings with the configuration that the device follows, where we may read it."""
    try:
        return with_config(settings, read(settings).values)
    except EdgeError:
        return settings


def _groups(settings: Settings) -> tuple[str, ...]:
    """They stand in the credentials, as for the agent."""
    path = settings.credentials_file
    return creds.peek(path).groups if path.exists() else ()
