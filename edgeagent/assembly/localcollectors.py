"""The collectors of this device, without its agent: what there is, and trying one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from edgeagent.assembly.localconfig import effective
from edgeagent.builtin.collectors import load_plugins
from edgeagent.collectors import Collector, Round, collectors
from edgeagent.errors import Failed, UsageProblem
from edgeagent.machine import Machine
from edgeagent.patterns.collecting import Collecting
from edgeagent.patterns.collectorhealth import Healths
from edgeagent.patterns.programcollectors import ProgramCollector, load_folder
from edgeagent.sample import Sample
from edgeagent.settings import Settings
from edgeagent.status import CollectorStatus

__all__ = ["listed", "tried"]

#: Between the two rounds of a collector that is tried, in seconds.
APART_SECONDS = 1.0
#: How long a program that keeps running is listened to, in seconds.
LISTEN_SECONDS = 10.0


def listed(own: Settings, known: Iterable[CollectorStatus], machine: Machine | None = None) -> list[dict[str, Any]]:
    """One row a collector, by name. known: what the agent said of them."""
    broken = load_plugins()
    programs, failures = load_folder(machine or Machine(), own.collectors_folder)
    rows = [_row(each.name, _kind(each), [metric.name for metric in each.metrics]) for each in collectors()]
    rows += [_row(each.name, "program", []) for each in programs]
    rows += [_row(name, "plugin", [], why) for name, why in broken.items()]
    rows += [_row(name, "program", [], why) for name, why in failures.items()]
    disabled = effective(own).sampling.disabled
    said = {each.name: each for each in known}
    return [_with_status(row, disabled, said.get(row["name"])) for row in sorted(rows, key=lambda row: str(row["name"]))]


def _kind(collector: Collector) -> str:
    return "built-in" if collector.module.startswith("edgeagent.builtin.") else "plugin"


def _row(name: str, kind: str, metrics: list[str], error: str = "") -> dict[str, Any]:
    return {"name": name, "kind": kind, "metrics": metrics, "error": error}


def _with_status(row: dict[str, Any], disabled: list[str], known: CollectorStatus | None) -> dict[str, Any]:
    error = row["error"] or (known.error if known else "")
    state = "disabled" if row["name"] in disabled else "fails" if error else "good" if known and known.runs else "has not run"
    return {
        **row,
        "state": state,
        "runs": known.runs if known else 0,
        "failures": known.failures if known else 0,
        "ms": round(known.seconds * 1000, 1) if known else None,
        "error": error,
    }


async def tried(own: Settings, name: str, machine: Machine | None = None) -> list[Sample]:
    """The samples of one run. Raises UsageProblem when there is none of that name, Failed when it was no good."""
    load_plugins()
    machine = machine or Machine()
    programs, failures = load_folder(machine, own.collectors_folder)
    what = f"run the collector {name}"
    if name in failures:
        raise Failed(what, failures[name])
    for program in programs:
        if program.name == name:
            return await _program(program, what)
    found = [each for each in collectors() if each.name == name]
    if not found:
        remedy = f"`edgeagent collectors ls` lists them; programs stand in {own.collectors_folder}"
        raise UsageProblem(what, "there is none of that name", remedy)
    return await _registered(found, effective(own), machine, what)


async def _registered(found: list[Collector], own: Settings, machine: Machine, what: str) -> list[Sample]:
    healths = Healths(_tell_nobody)
    collecting = Collecting(healths, found)
    first = await collecting.run(Round(machine=machine, settings=own, clock=time.monotonic()))
    await asyncio.sleep(0 if found[0].seconds else APART_SECONDS)
    second = await collecting.run(Round(machine=machine, settings=own, clock=time.monotonic()))
    if error := healths.of(found[0].name).error:
        raise Failed(what, error)
    declared = {metric.name for metric in found[0].metrics}
    return [sample for sample in second or first if sample.metric in declared]


async def _program(program: ProgramCollector, what: str) -> list[Sample]:
    samples: list[Sample] = []

    def take(source: str, found: list[Sample]) -> None:
        samples.extend(found if source == program.name else [])

    listening = asyncio.ensure_future(program.once(take, Healths(_tell_nobody)))
    if program.manifest.keeps_running:
        asyncio.get_running_loop().call_later(LISTEN_SECONDS, lambda: program.set(interval_seconds=1, enabled=False))
    if error := await listening:
        raise Failed(what, error)
    return samples


def _tell_nobody(*told: object, **data: object) -> None:
    """There is no hub to be told."""
