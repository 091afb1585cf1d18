"""Where things are on disk: the system's installation, a person's own, and the operator's files. The only reader of the environment
for paths.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from platformdirs import PlatformDirs

__all__ = [
    "COLLECTORS",
    "SYSTEM_SETTINGS",
    "contexts_folder",
    "hub_folder",
    "operator_cache_folder",
    "owners_folder",
    "runtime_folder",
    "settings_file",
    "state_folder",
]

NAME = "edgeagent"

#: The settings of the machine's own agent, as the systemd units run it.
SYSTEM_SETTINGS = Path("/etc/edgeagent/agent.toml")
#: What that agent keeps. A device that was enrolled needs no settings.
SYSTEM_STATE = Path("/var/lib/edgeagent")
#: A hub that is root's, or runs as edgeagent-hub.service.
SYSTEM_HUB = Path("/var/lib/edgeagent-hub")

#: Its programs that measure, unless its settings name another folder.
COLLECTORS = Path("/etc/edgeagent/collectors.d")


def _own() -> PlatformDirs:
    """A person's own folders. The system's agent has none, and does not pay for finding them."""
    from platformdirs import PlatformDirs

    return PlatformDirs(NAME)


def is_root() -> bool:
    return os.geteuid() == 0


def is_there(path: Path) -> bool:
    """Whether there is such a file, or may be: a folder that we may not look into could hold it, and reading it says so plainly."""
    try:
        return path.exists()
    except OSError:
        return True


def settings_file() -> Path:
    """$EDGEAGENT_SETTINGS, else the system's file if it is there or we are root, else the user's.

    A user without a file of the own means the system's agent, where there is one.
    """
    named = os.environ.get("EDGEAGENT_SETTINGS")
    if named:
        return Path(named)
    own = _own().user_config_path / "agent.toml"
    if is_there(SYSTEM_SETTINGS) or is_root() or (SYSTEM_STATE.is_dir() and not own.exists()):
        return SYSTEM_SETTINGS
    return own


def state_folder(system: bool) -> Path:
    """What must survive a reboot."""
    return SYSTEM_STATE if system else _own().user_state_path


def runtime_folder(system: bool) -> Path:
    """What need not survive a reboot: status, locks, sockets."""
    if system:
        return Path("/run/edgeagent")
    # Without a login session there is no XDG runtime folder, and a name in /tmp could be anybody's.
    inside = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}")
    return inside / NAME if inside.is_dir() else state_folder(system) / "run"


def hub_folder() -> Path:
    """The hub's keys, configuration and store, unless ``--dir`` names another folder.

    Not below the state folder of the agent, whose user could put another in its place, and which goes when a device is purged.
    """
    named = os.environ.get("EDGEAGENT_HUB_DIR")
    if named:
        return Path(named)
    return SYSTEM_HUB if is_root() else _own().user_state_path / "hub"


def contexts_folder() -> Path:
    """An operator's contexts: which hubs, with which credentials."""
    return _own().user_config_path / "contexts"


def owners_folder() -> Path:
    """The owner's files of the hubs that this person made: ``<hub>.keys``."""
    return _own().user_config_path / "owners"


def operator_cache_folder() -> Path:
    """What the command line remembers between two calls and may forget."""
    return _own().user_cache_path
