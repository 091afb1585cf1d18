"""What a program or microcontroller needs to reach the leaf's MQTT: address, login, and whom to trust."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from pathlib import Path
from typing import NamedTuple

from edgeagent import files
from edgeagent import status as statuses
from edgeagent.assembly import logins
from edgeagent.errors import EdgeError, Refused, Unreachable
from edgeagent.leaf.apps import App
from edgeagent.leaf.mqtt import NO_MQTT, port_to_tell
from edgeagent.leaf.mqttconf import app_user
from edgeagent.leaf.mqtttls import OwnTls
from edgeagent.mcus import Mcu
from edgeagent.natsserver.supervisor import State
from edgeagent.settings import Settings

__all__ = ["CA_FILE", "Handed", "for_app", "for_mcu", "told"]

#: The authority's certificate, beside the files that name it.
CA_FILE = "mqtt-ca.pem"
#: How long the leaf may take to be restarted, and how often that is looked at, in seconds.
READY_SECONDS, LOOK_SECONDS = 60.0, 0.1
_WHAT = "take MQTT clients"


class Handed(NamedTuple):
    """text: ``MQTT_*`` settings, one a line. host, port: where. ca: the authority's certificate; None: not one of ours, or no TLS."""

    text: str
    host: str
    port: int
    ca: Path | None


def for_app(settings: Settings, app: App, folder: Path) -> Handed:
    """For a program on this device. folder: where the authority's certificate is written. Raises EdgeError."""
    return _handed(settings, _near(settings), app_user(app.name), app.mqtt_password, folder)


def for_mcu(settings: Settings, mcu: Mcu, folder: Path) -> Handed:
    """For a microcontroller, which reaches this device over the network. Raises EdgeError."""
    handed = _handed(settings, _far(settings), mcu.id, mcu.password, folder)
    return handed._replace(text=f"{handed.text}MQTT_TOPIC=mcu/{mcu.id}\n")


def _handed(settings: Settings, host: str, user: str, password: str, folder: Path) -> Handed:
    port, ca = _port(settings), _hand_over_ca(settings, folder)
    values = {"MQTT_HOST": host, "MQTT_PORT": port, "MQTT_USER": user, "MQTT_PASSWORD": password}
    if ca:
        values["MQTT_CA"] = ca
    return Handed("".join(f"{key}={value}\n" for key, value in values.items()), host, port, ca)


def _port(settings: Settings) -> int:
    """The one that the leaf listens at, or will."""
    found = _status(settings)
    if found and found.leaf.mqtt and statuses.is_running(found):
        return found.leaf.mqtt.port
    return port_to_tell(settings.state_folder, settings.mqtt)


def _status(settings: Settings) -> statuses.Status | None:
    with contextlib.suppress(EdgeError):
        return statuses.read(settings.status_file)
    return None


def _near(settings: Settings) -> str:
    address = ipaddress.ip_address(settings.mqtt.listen)
    return ("::1" if address.version == 6 else "127.0.0.1") if address.is_unspecified else settings.mqtt.listen


def _far(settings: Settings) -> str:
    if not ipaddress.ip_address(settings.mqtt.listen).is_unspecified:
        return settings.mqtt.listen
    from edgeagent.hub.address import own_address

    return own_address(settings.mqtt.listen) or _near(settings)


def _hand_over_ca(settings: Settings, folder: Path) -> Path | None:
    if settings.mqtt.tls != "self":
        return None
    own = OwnTls(settings.state_folder)
    own.ensure(settings.mqtt.tls_names)
    files.make_folder(folder, 0o755)
    files.write_atomic(folder / CA_FILE, files.read_bytes(own.ca), 0o644)
    return folder / CA_FILE


async def told(settings: Settings) -> tuple[bool, EdgeError | None]:
    """Tell the agent that a login was made: whether one runs, and why it can't take it; that is no reason to take the login back."""
    try:
        known = await logins.tell(settings)
        if known:
            await _until_ready(settings)
    except EdgeError as problem:
        return True, problem
    return known, None


async def _until_ready(settings: Settings) -> None:
    """Wait until the leaf of the agent that runs takes MQTT clients: for the first one it is restarted.

    Raises Refused with the reason why it will not, Unreachable when it does not begin.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + READY_SECONDS
    while clock() < deadline:
        found = _status(settings)
        if found and found.leaf.mqtt and found.leaf.state == State.RUNNING.value:
            return
        for problem in found.problems if found else ():
            if problem.what.startswith(NO_MQTT):
                raise Refused(_WHAT, problem.what.removeprefix(f"{NO_MQTT}: "), problem.remedy)
        await asyncio.sleep(LOOK_SECONDS)
    raise Unreachable(_WHAT, f"the leaf did not begin within {READY_SECONDS:g} s", "`edgeagent status` says how it is")
