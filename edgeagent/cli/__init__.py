"""The command line: thin, over the same modules a Python program uses. Heavy parts are imported by the command that needs them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from edgeagent import __version__
from edgeagent.cli import (
    apps,
    audit,
    cmd,
    collectors,
    config,
    context,
    data,
    demo,
    device,
    doctor,
    enrol,
    events,
    file,
    firmware,
    fleet,
    hub,
    install,
    local,
    lock,
    mcu,
    metrics,
    operator,
    put,
    shortforms,
    token,
)
from edgeagent.cli.harmless import told
from edgeagent.cli.pipe import Group, silence
from edgeagent.errors import EdgeError
from edgeagent.trust import websockets

__all__ = ["app", "main"]

app = typer.Typer(
    name="edgeagent",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Runs fleets of Raspberry Pis over NATS.\n\nExample: edgeagent fleet ls",
)
app.add_typer(fleet.app, name="fleet")
app.add_typer(hub.app, name="hub")
app.add_typer(device.app, name="device")
app.add_typer(config.app, name="config")
app.add_typer(cmd.app, name="cmd")
app.add_typer(metrics.app, name="metrics")
app.add_typer(data.app, name="data")
app.add_typer(file.app, name="file")
app.add_typer(token.app, name="token")
app.add_typer(operator.app, name="operator")
app.add_typer(apps.app, name="app")
app.add_typer(mcu.app, name="mcu")
app.add_typer(firmware.app, name="firmware")
app.add_typer(collectors.app, name="collectors")
app.add_typer(context.app, name="context")
app.add_typer(demo.app, name="demo")
shortforms.add_to(app)
events.add_to(app)
audit.add_to(app)
enrol.add_to(app)
install.add_to(app)
local.add_to(app)
doctor.add_to(app)
lock.add_to(app)
put.add_to(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgeagent {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of ``edgeagent``: an error is one sentence on standard error and an exit code, never a traceback.

    A reader that left (`edgeagent fleet ls | head`) is told nothing, and no error (:mod:`edgeagent.cli.pipe`).
    """
    websockets.put_off()
    try:
        app()
    except EdgeError as error:
        typer.echo(f"edgeagent: {told(error)}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        silence()
