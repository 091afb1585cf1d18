"""What comes with edgeagent for the machine around it: units, users, udev rules. With an installed edgeagent they are in the package itself, in a
checkout in ``systemd/`` and ``deploy/``.
"""

from __future__ import annotations

from pathlib import Path

from edgeagent.errors import Failed

__all__ = ["HUB_UNIT", "deploy", "systemd", "units"]

_PACKAGE = Path(__file__).parents[1]

#: Of a hub, so it is not for a device.
HUB_UNIT = "edgeagent-hub.service"
_HUB = "edgeagent-hub"


def systemd() -> Path:
    """The folder of the units. Raises Failed when this edgeagent was installed without."""
    return _folder("systemd", "edgeagent.service")


def deploy() -> Path:
    """The folder of all the rest: ``agent.toml``, ``sysusers.d``, ``tmpfiles.d``, ``udev``, ``polkit``. Raises Failed as :func:`systemd`."""
    return _folder("deploy", "agent.toml")


def units() -> list[Path]:
    """A device's units, sorted by name."""
    return sorted(path for path in systemd().iterdir() if path.name.startswith("edgeagent") and not path.name.startswith(_HUB))


def _folder(name: str, has: str) -> Path:
    for each in (_PACKAGE / f"_{name}", _PACKAGE.parent / name):
        if (each / has).is_file():
            return each
    raise Failed(
        "find the files that belong on a device", f"this edgeagent was installed without its {name}/", "install it again"
    )
