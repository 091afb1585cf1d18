"""The microcontrollers on a wire that a device's owner named: the section ``[serial]`` of agent.toml, which the hub can't change
(:mod:`edgeagent.schema`). Those of ``edgeagent mcu add`` have the same shape.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgeagent.sections import Section
from edgeagent.subjects import ID_RULE

if sys.version_info >= (3, 11):
    import re._parser as sre_parser
else:
    import sre_parse as sre_parser

__all__ = ["SerialMcu", "SerialSettings", "clash", "compiled", "together"]

#: So many on one device: a full USB tree has 127 addresses, hubs among them.
MAX_MCUS = 64
_USB = r"^([0-9a-f]{4}:[0-9a-f]{4})?\Z"


class SerialMcu(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One wired microcontroller."""

    usb: Annotated[
        str,
        Meta(
            description='Vendor and product of its USB device, as `lsusb` and `edgeagent mcu ls` show them: `"2e8a:0005"`.',
            pattern=_USB,
            extra={"form": "vendor and product as lower case hex digits, such as 2e8a:0005"},
        ),
    ] = ""
    serial_number: Annotated[
        str,
        Meta(description="Serial number of its USB device; needed where two of the same kind may be plugged in.", max_length=126),
    ] = ""
    port: Annotated[
        str,
        Meta(
            description='Path of its port in place of `usb`: `"/dev/ttyAMA0"` for the pins of a UART, or a link below `/dev/serial/by-path`.',
            pattern=r"^(/[^\x00-\x1f]+)?\Z",
            extra={"form": "an absolute path such as /dev/ttyAMA0"},
        ),
    ] = ""
    baud: Annotated[
        int,
        Meta(
            description="Bits a second; of no meaning where the microcontroller itself is the USB device.", ge=300, le=4_000_000
        ),
    ] = 115200
    mode: Annotated[
        Literal["framed", "lines"],
        Meta(
            description="`framed`: it speaks the protocol of [wire.md](wire.md), each reading once. `lines`: it prints lines, of which samples are taken."
        ),
    ] = "framed"
    format: Annotated[
        Literal["json", "line_protocol", "regex"],
        Meta(description="What its lines are, with `lines`. A line that is none is one of its log."),
    ] = "json"
    pattern: Annotated[
        str,
        Meta(
            description="Regular expression with named groups, for `regex`: a group that is a number is a sample of that name, any other an attribute. No repetition within another: it is tried at each line.",
            max_length=500,
        ),
    ] = ""
    reset_on_open: Annotated[
        bool,
        Meta(
            description="Whether DTR goes off when the agent closes the port, and on again when it opens it: an Arduino is reset by that. `false` leaves it on, from the first opening on."
        ),
    ] = True

    def __post_init__(self) -> None:
        if bool(self.usb) == bool(self.port):
            raise ValueError("usb: either this or port must be set, and not both")
        if self.serial_number and not self.usb:
            raise ValueError("serial_number: only a USB device has one, so it needs usb")
        if self.mode == "framed" and (self.pattern or self.format != "json"):
            raise ValueError(f"{'pattern' if self.pattern else 'format'}: it needs mode = 'lines'")
        if (self.mode == "lines" and self.format == "regex") != bool(self.pattern):
            raise ValueError("pattern: it must be set for format = 'regex', and for no other")
        if self.pattern:
            compiled(self.pattern)


_McuId = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z", extra={"form": ID_RULE})]


class SerialSettings(Section, frozen=True, kw_only=True):
    mcus: Annotated[
        dict[_McuId, SerialMcu],
        Meta(
            description="The microcontrollers on USB or a UART, each a table `[serial.mcus.<id>]`. [microcontrollers.md](microcontrollers.md)",
            max_length=MAX_MCUS,
        ),
    ] = {}

    def __post_init__(self) -> None:
        known: dict[str, SerialMcu] = {}
        for mcu_id, mcu in self.mcus.items():
            for other_id, other in known.items():
                if clash(mcu, other):
                    raise ValueError(f"mcus.{mcu_id}: what is plugged in may be {other_id!r} as well{_apart(mcu)}")
            known[mcu_id] = mcu


def _apart(mcu: SerialMcu) -> str:
    return "; give each its own serial_number" if mcu.usb else ""


def clash(one: SerialMcu, other: SerialMcu) -> bool:
    """Whether a device may be both, as far as the settings show: a path may lead to any device."""
    if one.usb and one.usb == other.usb:
        return not (one.serial_number and other.serial_number) or one.serial_number == other.serial_number
    return bool(one.port) and one.port == other.port


def together(own: Mapping[str, SerialMcu], added: Mapping[str, SerialMcu]) -> dict[str, SerialMcu]:
    """Those of agent.toml and those that were added; the former go before whatever has the same id, or may be the same device."""
    free = {mcu_id: mcu for mcu_id, mcu in added.items() if not any(clash(mcu, each) for each in own.values())}
    return {**free, **own}


def compiled(pattern: str) -> re.Pattern[str]:
    """The expression of a line. Raises ValueError, with the setting's name, when it is none, has no named group, or is one that may take for ever.

    Python's engine tries all ways in which a text can be divided among repetitions within each other: their number doubles with
    each character. Without such it grows with a power of the line's length, which is bounded (:mod:`edgeagent.bridge.serialines`).
    """
    try:
        found = re.compile(pattern)
        nested = _is_nested(sre_parser.parse(pattern), within=False)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"pattern: it is no regular expression: {error}") from None
    if nested:
        raise ValueError("pattern: it has a repetition within a repetition, which may take for ever")
    if not found.groupindex:
        raise ValueError("pattern: it has no named group, such as (?P<celsius>[0-9.]+)")
    return found


def _is_nested(part: Any, *, within: bool) -> bool:
    """Whether there is a repetition or a choice that is itself repeated without end. part: anything in the tree of :mod:`re`'s parser."""
    if isinstance(part, tuple) and part and str(part[0]) in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        _, most, inner = part[1]
        return within or _is_nested(inner, within=within or most > 1)
    if isinstance(part, tuple) and part and str(part[0]) == "BRANCH" and within:
        return True
    parts = part.data if isinstance(part, sre_parser.SubPattern) else part
    return isinstance(parts, (tuple, list)) and any(_is_nested(each, within=within) for each in parts)
