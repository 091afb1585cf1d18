"""Microcontrollers that are made known to this device: kept in the state folder, told to the running agent, handed over as a file."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgeagent import mcus, places
from edgeagent.assembly import logins, mqttlogin
from edgeagent.assembly.mqttlogin import Handed
from edgeagent.errors import EdgeError, Refused, UsageProblem
from edgeagent.leaf.apps import NAMES_TAKEN
from edgeagent.mcus import Mcu
from edgeagent.sections import check
from edgeagent.serialsettings import SerialMcu, clash
from edgeagent.settings import Settings
from edgeagent.subjects import ID_RULE, is_id

__all__ = ["Added", "add", "add_wired", "forget", "keep_wired", "listed", "remove", "wired_of"]

_FIELDS = {field.name: field for field in msgspec.structs.fields(SerialMcu)}

#: Where the settings for microcontrollers of the machine's own installation go.
SYSTEM_MCUS = places.SYSTEM_SETTINGS.parent / "mcus"


class Added(NamedTuple):
    """file: with its settings for MQTT. handed: what is in it. known: whether a running agent knows it now.

    problem: why the leaf takes no MQTT clients though the login is made; None: it does, or no agent runs.
    """

    file: Path
    handed: Handed
    known: bool
    problem: EdgeError | None


def listed(settings: Settings) -> list[Mcu]:
    """The microcontrollers that were made known, by id."""
    return [mcu for _, mcu in sorted(mcus.load(_file(settings)).items())]


async def add(settings: Settings, mcu_id: str, *, target: Path | None = None, group: str = "") -> Added:
    """Give the microcontroller a login to the leaf's MQTT and write its settings.

    target: the file; None: ``ID.env`` in the folder for them. group: of the file, so that whoever flashes may read it.
    Raises EdgeError: nothing was changed then.
    """
    what = f"add the microcontroller {mcu_id!r}"
    _check_id(what, mcu_id)
    mcu = Mcu(id=mcu_id, password=secrets.token_urlsafe(24))
    target = (target or _folder(settings) / f"{mcu_id}.env").absolute()
    with logins.changing(settings, what):
        handed = _add(settings, msgspec.structs.replace(mcu, file=str(target)), what, target, group)
    return Added(target, handed, *await mqttlogin.told(settings))


def _check_id(what: str, mcu_id: str) -> None:
    if not is_id(mcu_id) or mcu_id in NAMES_TAKEN:
        why = "it is one of the leaf's own names" if mcu_id in NAMES_TAKEN else f"an id must be {ID_RULE}"
        raise UsageProblem(what, why, "choose another id")


def _add(settings: Settings, mcu: Mcu, what: str, target: Path, group: str) -> Handed:
    known = mcus.load(_file(settings))
    before = known.get(mcu.id)
    if before and before.password:
        raise Refused(what, "it has a login already", f"`edgeagent mcu rm {mcu.id}` takes it away")
    logins.check_free(settings, what, mcu.id, but="microcontroller")
    logins.refuse_existing(what, target)
    handed = mqttlogin.for_mcu(settings, mcu, target.parent)
    logins.hand_over(target, handed.text, group)
    try:
        wired = before.wired if before else None
        mcus.save(_file(settings), {**known, mcu.id: msgspec.structs.replace(mcu, wired=wired)})
    except BaseException:
        target.unlink()
        raise
    return handed


def wired_of(mcu_id: str, *, usb: str, port: str, baud: int, lines: str, pattern: str) -> SerialMcu:
    """One on a wire, as the command line says it. usb: ``2e8a:0005``, or with the serial number after another colon. lines: the format of
    plain lines; empty: it speaks the protocol. Raises UsageProblem with all that is wrong."""
    vendor, _, rest = usb.lower().partition(":")
    product, colon, _ = rest.partition(":")
    said = {"usb": f"{vendor}:{product}" if usb else "", "serial_number": usb.split(":", 2)[2] if colon else "", "port": port}
    plain = {"mode": "lines", "format": lines, "pattern": pattern} if lines else {"pattern": pattern} if pattern else {}
    found = {**{key: value for key, value in said.items() if value}, "baud": baud, **plain}
    what = f"add the microcontroller {mcu_id!r}"
    problems = [problem for name, field in _FIELDS.items() if name in found for problem in check(name, found[name], field.type)]
    try:
        if not problems:
            return msgspec.convert(found, SerialMcu)
        why = "; ".join(problems)
    except msgspec.ValidationError as error:  # a rule of the whole
        why = str(error).replace("`", "")
    raise UsageProblem(what, why, "for example: --usb 2e8a:0005, or --port /dev/ttyUSB0 --lines json")


async def add_wired(settings: Settings, mcu_id: str, wired: SerialMcu) -> bool:
    """As :func:`keep_wired`; whether a running agent knows it now."""
    keep_wired(settings, mcu_id, wired)
    return await logins.tell(settings)


def keep_wired(settings: Settings, mcu_id: str, wired: SerialMcu) -> None:
    """Write down that it belongs to this device. Raises EdgeError: nothing was changed then."""
    what = f"add the microcontroller {mcu_id!r}"
    _check_id(what, mcu_id)
    if mcu_id in settings.serial.mcus:
        raise Refused(what, f"agent.toml has [serial.mcus.{mcu_id}]", "change that, and restart the agent")
    with logins.changing(settings, what):
        known = mcus.load(_file(settings))
        others = {**_wired_in(known), **settings.serial.mcus}
        if known.get(mcu_id) and known[mcu_id].wired:
            raise Refused(what, "it is on a wire already", f"`edgeagent mcu rm {mcu_id}` takes it away")
        if (taken := next((other for other, each in others.items() if clash(wired, each)), "")) != "":
            remedy = (
                "give each its serial number: --usb VENDOR:PRODUCT:SERIAL"
                if wired.usb
                else f"`edgeagent mcu rm {taken}` takes it away"
            )
            raise Refused(what, f"what is plugged in there may be {taken!r} as well", remedy)
        logins.check_free(settings, what, mcu_id, but="microcontroller")
        mcu = msgspec.structs.replace(known.get(mcu_id) or Mcu(id=mcu_id), wired=msgspec.to_builtins(wired))
        mcus.save(_file(settings), {**known, mcu_id: mcu})


def _wired_in(known: dict[str, Mcu]) -> dict[str, SerialMcu]:
    return {mcu_id: msgspec.convert(mcu.wired, SerialMcu) for mcu_id, mcu in known.items() if mcu.wired}


async def remove(settings: Settings, mcu_id: str) -> bool:
    """As :func:`forget`; whether a running agent knows it now."""
    forget(settings, mcu_id)
    return await logins.tell(settings)


def forget(settings: Settings, mcu_id: str) -> None:
    """Take the microcontroller away, and the file that was written for it. Raises EdgeError: nothing was changed then."""
    what = f"remove the microcontroller {mcu_id!r}"
    with logins.changing(settings, what):
        known = mcus.load(_file(settings))
        if mcu_id not in known:
            if mcu_id in settings.serial.mcus:
                raise UsageProblem(what, f"agent.toml has [serial.mcus.{mcu_id}]", "remove that there, and restart the agent")
            raise UsageProblem(what, f"there is none of this id (those that were added: {', '.join(sorted(known)) or 'none'})")
        mcus.save(_file(settings), {key: mcu for key, mcu in known.items() if key != mcu_id})
        _take_back(known[mcu_id])


def _take_back(mcu: Mcu) -> None:
    """Remove the file, unless it was changed into another."""
    path = Path(mcu.file)
    with contextlib.suppress(OSError):
        if mcu.file and f"MQTT_TOPIC=mcu/{mcu.id}\n" in path.read_text(errors="replace"):
            path.unlink()


def _folder(settings: Settings) -> Path:
    """Where settings go unless told otherwise: the state folder is closed to others."""
    return SYSTEM_MCUS if settings.is_system else settings.state_folder / "mcus"


def _file(settings: Settings) -> Path:
    return logins.kept(settings, mcus.FILE)
