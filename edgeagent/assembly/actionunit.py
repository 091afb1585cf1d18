"""``python -m edgeagent.assembly.actionunit ID``: carries out one action in its unit, as the unit's user, and leaves its outcome.

:mod:`edgeagent.assembly.actionhelper` has judged it and started us. Standard output is the report
(:mod:`edgeagent.patterns.unitreport`), standard input what the agent handed over; what we say of ourselves goes to the journal.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import msgspec

from edgeagent import actions
from edgeagent.actions import Context, Outcome
from edgeagent.assembly.actionorders import found, settings_in
from edgeagent.errors import EdgeError
from edgeagent.identity import boot_id
from edgeagent.machine import Machine
from edgeagent.patterns.unitreport import Writer
from edgeagent.patterns.unitrequests import FOLDER, REQUEST, Order, is_id, told_of
from edgeagent.runtime import set_up_logging

__all__ = ["main"]

log = logging.getLogger("edgeagent")


def main() -> None:
    set_up_logging("info")
    command_id = sys.argv[1]
    assert is_id(command_id)
    writer = Writer(_report())
    order = msgspec.json.decode((Path(FOLDER) / command_id / REQUEST).read_bytes(), type=Order)
    outcome = asyncio.run(_carried_out(order, writer))
    try:
        writer.end(msgspec.json.encode(told_of(outcome)))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        # A stranger's action may answer what is no JSON, or too much of it.
        reason = f"what it answered cannot be told ({type(error).__name__}: {error})"
        writer.end(msgspec.json.encode(told_of(Outcome("failed", actions.printable(reason, 500)))))


def _report() -> int:
    """A descriptor of the report that nobody else has; whatever prints something prints to the journal from now on."""
    report = os.dup(1)
    os.dup2(2, 1)
    return report


async def _carried_out(order: Order, writer: Writer) -> Outcome:
    cancelled, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, cancelled.set)
    machine = Machine()
    action = found(order.action, machine)
    if action is None or action.unit is None:
        return Outcome("failed", "there is no such action in its unit")
    context = Context(
        device_id=order.device,
        settings=settings_in(order.settings),
        machine=machine,
        boot=boot_id(machine) or "",
        write=writer.write,
        cancelled=cancelled,
        id=order.id,
        content=0 if order.content else None,
    )
    try:
        return await (action.unit.run or action.run)(context, actions.arguments(action, order.args))
    except EdgeError as error:
        return Outcome("failed", str(error))
    except Exception as error:
        log.exception("the action %s failed", order.action)
        return Outcome("failed", f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
