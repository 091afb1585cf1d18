"""What is put into a board's settings.json: somebody's own file, and the login that ``edgeagent mcu add`` made. Pure, but for reading them."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeagent import files
from edgeagent.errors import Refused, UsageProblem

__all__ = ["CA_FILE", "Login", "read", "read_login", "settings_for", "speaks_mqtt"]

CA_FILE = "ca.der"
#: What a board reads: firmware/app/config.py has the same number, and uses none of what is longer.
MAX_BYTES = 8 << 10
_TOPIC = "mcu/"


@dataclass(frozen=True)
class Login:
    """values: the table ``mqtt``. mcu_id: whose it is; empty: not said. ca: the authority's certificate as DER; None: without TLS."""

    values: dict[str, Any]
    mcu_id: str
    ca: bytes | None


def read(path: Path) -> dict[str, Any]:
    """The settings in a file. Raises EdgeError."""
    return parse(files.read_bytes(path), str(path))


def parse(data: bytes, name: str) -> dict[str, Any]:
    """Raises UsageProblem."""
    try:
        found = json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UsageProblem(f"use {name}", f"it is no JSON: {error}") from None
    if not isinstance(found, dict) or len(data) > MAX_BYTES:
        raise UsageProblem(f"use {name}", f"settings are one JSON object of at most {MAX_BYTES} bytes")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number there")  # a board would use none of the settings


def read_login(path: Path) -> Login:
    """The file that ``edgeagent mcu add ID`` wrote. Raises EdgeError."""
    what, values = f"use {path}", _pairs(files.read_text(path))
    missing = [key for key in ("MQTT_HOST", "MQTT_PORT", "MQTT_USER", "MQTT_PASSWORD") if not values.get(key)]
    if missing:
        raise UsageProblem(what, f"it has no {' and no '.join(missing)}", "name the file that `edgeagent mcu add ID` wrote")
    if not values["MQTT_PORT"].isdigit() or not 0 < int(values["MQTT_PORT"]) < 65536:
        raise UsageProblem(what, f"MQTT_PORT is {values['MQTT_PORT']!r}, which is no port")
    ca = _ca(path, values["MQTT_CA"]) if values.get("MQTT_CA") else None
    login = {"host": values["MQTT_HOST"], "port": int(values["MQTT_PORT"]), "user": values["MQTT_USER"]}
    login |= {"password": values["MQTT_PASSWORD"], "tls": ca is not None, **({"ca": f"/{CA_FILE}"} if ca else {})}
    topic = values.get("MQTT_TOPIC", "")
    return Login(login, topic.removeprefix(_TOPIC) if topic.startswith(_TOPIC) else "", ca)


def _pairs(text: str) -> dict[str, str]:
    lines = [line.partition("=") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {key.strip(): value.strip() for key, _, value in lines}


def _ca(of: Path, named: str) -> bytes:
    """As it is named, or beside the file that names it, for that may have been carried to another machine."""
    path = next((each for each in (Path(named), of.parent / Path(named).name) if each.is_file()), None)
    if path is None:
        remedy = f"copy it from the device too, and put it beside {of.name}"
        raise UsageProblem(f"use {of}", f"the authority's certificate {named} is not there", remedy)
    pem = files.read_text(path)
    begin, end = pem.find(ssl.PEM_HEADER), pem.find(ssl.PEM_FOOTER)
    try:
        return ssl.PEM_cert_to_DER_cert(pem[begin : end + len(ssl.PEM_FOOTER)])
    except ValueError:
        raise UsageProblem(f"use {path}", "it is no certificate in PEM form") from None


def settings_for(given: dict[str, Any] | None, login: Login | None, on_board: bytes | None) -> bytes | None:
    """The settings.json for a board that has ``on_board``; None: it keeps what it has. Raises EdgeError.

    Without settings of its own and without any given, it begins with what can be changed.
    """
    if given is None and login is None:
        return None if on_board is not None else _text({"interval_seconds": 10, "sensors": [{"kind": "chip"}]})
    base = dict(given if given is not None else parse(on_board, "the board's settings.json") if on_board else {})
    if login:
        base["mqtt"] = login.values
        base |= {"id": login.mcu_id} if login.mcu_id else {}
    if "mqtt" in base and not (isinstance(base.get("wifi"), dict) and base["wifi"].get("ssid")):
        remedy = 'name a file with --settings that has {"wifi": {"ssid": "...", "password": "...", "country": "DE"}}'
        raise Refused("set the board up for MQTT", "its settings have no Wi-Fi", remedy)
    made = _text(base)
    if len(made) > MAX_BYTES:
        raise UsageProblem("set the board up", f"its settings have {len(made)} bytes, and {MAX_BYTES} are read at most")
    return made


def speaks_mqtt(settings: bytes | None) -> bool:
    """Whether a board with these says its hello by MQTT, and not on the wire."""
    try:
        found = json.loads(settings or b"{}")
    except ValueError:
        return False
    return isinstance(found, dict) and bool(found.get("mqtt"))


def _text(values: dict[str, Any]) -> bytes:
    """Letters as they are: MicroPython's json does not put together what an escape needs two of (an emoji in the name of a Wi-Fi)."""
    return json.dumps(values, indent=1, ensure_ascii=False).encode("utf-8", "replace")
