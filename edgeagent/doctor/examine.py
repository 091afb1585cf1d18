"""All checks of `edgeagent doctor`: their order, and how they are made side by side in bounded time. Nothing is changed."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

from edgeagent.assembly.findings import Finding
from edgeagent.doctor import agent, aside, card, clock, disk, installed, leaf, leafport, login, network, power, server
from edgeagent.doctor.check import Case, Check, Patient
from edgeagent.errors import EdgeError

__all__ = ["CHECKS", "LIMIT_SECONDS", "SLOW", "UNABLE", "examine"]

#: All of it takes no longer, in seconds; what is not known by then stays unknown.
LIMIT_SECONDS = 20.0
#: How often whoever waits is told what is waited for, and after how long for the first time, in seconds.
TELL_SECONDS = 0.5

#: In the order of cause and effect: what is wrong further up is often why something is wrong further down.
CHECKS: tuple[Check, ...] = (
    *(installed.SETTINGS, installed.FILES, power.POWER, disk.DISK, disk.WRITABLE, card.CARD, disk.STORE, clock.CLOCK),
    *(login.LOGIN, server.SERVER, leafport.PORT, agent.AGENT, agent.ACTIONS, leaf.LEAF),
    *(network.DNS, network.HUB, network.TLS, leaf.LINK),
)

SLOW = Case("unknown", "not known within {seconds:g} s", "run it again; does the disk or the network hang?")
UNABLE = Case("unknown", "could not be looked at: {error}", "please report this")

Read = Callable[[Patient], Any]


def examine(
    patient: Patient,
    *,
    checks: tuple[Check, ...] = CHECKS,
    on_wait: Callable[[list[str]], None] = lambda names: None,
    limit_seconds: float = LIMIT_SECONDS,
) -> list[Finding]:
    """Every finding, good ones too, in the order of the checks.

    on_wait: called now and then, when it takes more than a moment, with the names of the checks that are not done.
    """
    checks = tuple(check for check in checks if check.alone or patient.is_known)
    begun = {read: aside.start(partial(read, patient)) for check in checks for read in check.reads}
    _wait(checks, begun, on_wait, limit_seconds)
    return [replace(finding, check=check.name) for check in checks for finding in _judged(check, begun, limit_seconds)]


def _wait(
    checks: tuple[Check, ...], begun: Mapping[Read, Future[Any]], on_wait: Callable[[list[str]], None], limit: float
) -> None:
    end, pause = time.monotonic() + limit, 2 * TELL_SECONDS
    while True:
        _, waiting = concurrent.futures.wait(begun.values(), min(pause, max(0.0, end - time.monotonic())))
        if not waiting or time.monotonic() >= end:
            return
        on_wait([check.name for check in checks if any(begun[read] in waiting for read in check.reads)])
        pause = TELL_SECONDS


def _judged(check: Check, begun: Mapping[Read, Future[Any]], limit: float) -> Iterator[Finding]:
    """One check that fails must not cost the others."""
    futures = [begun[read] for read in check.reads]
    if not all(future.done() for future in futures):
        yield SLOW(seconds=limit)
        return
    try:
        yield from list(check.judge(*(future.result() for future in futures)))
    except EdgeError as error:
        yield UNABLE(error=f"{error.what}: {error.why}")
    except Exception as error:
        yield UNABLE(error=f"{type(error).__name__}: {error}")
