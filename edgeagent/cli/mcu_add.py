"""``edgeagent mcu add`` and ``rm``: which microcontrollers belong to this device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeagent import settings
from edgeagent.cli import completion, mcu_names, running
from edgeagent.cli.mcu_names import Name, Target
from edgeagent.cli.options import ContextName, SettingsFile
from edgeagent.errors import UsageProblem
from edgeagent.settings import Settings

__all__ = ["add_to"]

_LATER = "No agent runs here: it counts from the next start."
_WIRED = "What is on a wire"


def add_to(app: typer.Typer) -> None:
    app.command()(add)
    app.command("rm")(remove)


def add(
    target: Name,
    usb: Annotated[
        str,
        typer.Option(
            "--usb",
            help="Vendor and product of its USB device, with its serial number where there are several; `edgeagent mcu ls` shows both.",
            metavar="2e8a:0005[:SERIAL]",
            rich_help_panel=_WIRED,
        ),
    ] = "",
    port: Annotated[
        str,
        typer.Option(
            "--port",
            help="Its port instead, such as /dev/ttyAMA0.",
            metavar="PATH",
            rich_help_panel=_WIRED,
            autocompletion=completion.ports,
        ),
    ] = "",
    baud: Annotated[int, typer.Option("--baud", help="Bits a second.", rich_help_panel=_WIRED)] = 115200,
    lines: Annotated[
        str,
        typer.Option(
            "--lines",
            help="It prints plain lines: json, line_protocol or regex. Without this it speaks edgeagent's protocol.",
            metavar="FORMAT",
            rich_help_panel=_WIRED,
        ),
    ] = "",
    pattern: Annotated[
        str, typer.Option("--pattern", help="For regex: named groups are samples.", metavar="REGEX", rich_help_panel=_WIRED)
    ] = "",
    board: Annotated[
        Path | None,
        typer.Option(
            "--board",
            help="The board's settings.json: sent to it, where it runs edgeagent's firmware.",
            metavar="FILE",
            rich_help_panel=_WIRED,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file with its MQTT settings; /etc/edgeagent/mcus/ID.env if not given.", metavar="FILE"),
    ] = None,
    group: Annotated[str, typer.Option("--group", help="The group that may read the file (mode 640).", metavar="GROUP")] = "",
    context: ContextName = None,
    settings_file: SettingsFile = None,
) -> None:
    """Make the microcontroller ID known to this device: one on a wire, or without --usb and --port one that comes by MQTT.

    For MQTT it gets a login, good for the topics mcu/ID and below only, and a file with the settings for its firmware. The first login
    switches MQTT on: the leaf is restarted then, which takes a moment.

    DEVICE/ID is one on a wire of another device: that is the command mcu.add, which `commands.allow` there has to list.

    Example: sudo edgeagent mcu add oven --usb 2e8a:0005
    """
    where = mcu_names.named(target)
    mcu_id = where.id
    if where.device:
        given = {"usb": usb, "port": port, "baud": baud, "lines": lines, "pattern": pattern}
        if board:
            raise UsageProblem(
                f"add {target}", "--board is sent on its own device", f"`edgeagent mcu add {mcu_id}` on {where.device}"
            )
        if not (usb or port) or out or group:
            why = "only what is on a wire can be added from afar: a login for MQTT is made where somebody can carry it to its firmware"
            raise UsageProblem(f"add {target}", why, f"`edgeagent mcu add {mcu_id}` on {where.device}")
        _from_afar("mcu.add", where, {key: value for key, value in given.items() if value}, context)
        return
    wanted = settings.load(settings_file)
    if usb or port:
        if out or group:
            raise UsageProblem(f"add the microcontroller {mcu_id!r}", "--out and --group are for one that comes by MQTT")
        _wired(wanted, mcu_id, usb, port, {"baud": baud, "lines": lines, "pattern": pattern}, board)
    elif lines or pattern or board:
        raise UsageProblem(f"add the microcontroller {mcu_id!r}", "--lines, --pattern and --board need --usb or --port")
    else:
        _by_mqtt(wanted, mcu_id, out, group)


def _wired(wanted: Settings, mcu_id: str, usb: str, port: str, how: dict[str, Any], board: Path | None) -> None:
    from edgeagent.assembly.mcus import add_wired, wired_of
    from edgeagent.assembly.mcusettings import push
    from edgeagent.firmware.boardsettings import read

    made = wired_of(mcu_id, usb=usb, port=port, **how)
    given = read(board) if board else None
    known = running.run(add_wired(wanted, mcu_id, made))
    typer.echo(f"{mcu_id} is what is at {usb or port}" + ("; `edgeagent mcu ls` shows how it is" if known else f". {_LATER}"))
    if given is not None:
        running.run(push(wanted, mcu_id, given))
        typer.echo(f"{mcu_id} has its settings, and starts anew with them")


def _by_mqtt(wanted: Settings, mcu_id: str, out: Path | None, group: str) -> None:
    from edgeagent.assembly.mcus import add as make

    made = running.run(make(wanted, mcu_id, target=out, group=group))
    typer.echo(f"{mcu_id} has a login; its settings are in {made.file}")
    typer.echo(
        f"Put them into its firmware: host {made.handed.host}, port {made.handed.port}, user and password, topics below mcu/{mcu_id}/"
    )
    typer.echo(f"A Pico W takes them all: `edgeagent firmware flash --mqtt {made.file} --settings FILE`, with its Wi-Fi in FILE")
    if made.handed.ca:
        typer.echo(f"It must trust the authority in {made.handed.ca} (TLS)")
    if wanted.mqtt.is_loopback:
        typer.echo(
            'Only this device reaches that address. For others set `listen = "0.0.0.0"` and `tls = "self"` in [mqtt] of agent.toml'
        )
    if not made.known:
        typer.echo(_LATER)
    if made.problem:
        raise made.problem


def remove(target: Name, context: ContextName = None, settings_file: SettingsFile = None) -> None:
    """Take the microcontroller ID and its login away; its connection ends at once. DEVICE/ID is one of another device, by the command mcu.rm.

    Example: sudo edgeagent mcu rm greenhouse
    """
    from edgeagent.assembly.mcus import remove as take_away

    where = mcu_names.named(target)
    if where.device:
        _from_afar("mcu.rm", where, {}, context)
        return
    wanted = settings.load(settings_file)
    known = running.run(take_away(wanted, where.id))
    gone = "is no microcontroller of this device any more"
    if where.id in wanted.serial.mcus:
        gone = f"has no login any more; [serial.mcus.{where.id}] of agent.toml still names it"
    typer.echo(f"{where.id} {gone}" + ("" if known else f". {_LATER}"))


def _from_afar(action: str, where: Target, args: dict[str, Any], context: str | None) -> None:
    from edgeagent.cli import cmd_send
    from edgeagent.cli.cmd_options import How

    cmd_send.send(action, {"mcu": where.id, **args}, How(devices=[where.device], wait=True, context=context))
