"""The hub's health while it runs: looked at every few seconds in the background, and shown to whoever asks ``/healthz``.

It is wrong when something of it is: nats-server does not answer, a stream cannot be written, a certificate has ended. What is only to be
heeded (a server of three that is away) leaves it healthy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from edgeagent.assembly import doctorservers
from edgeagent.assembly.findings import Finding
from edgeagent.errors import Closed, EdgeError
from edgeagent.hub import alarms
from edgeagent.hub.alarmwatch import AlarmWatch
from edgeagent.hub.cluster import Cluster
from edgeagent.hub.serverstates import ServerState
from edgeagent.link import Client
from edgeagent.machine import Machine
from edgeagent.runtime import jittered, woken
from edgeagent.times import rfc3339

__all__ = ["HubHealth", "page"]

log = logging.getLogger("edgeagent.hub")

#: From look to look, and how long one may take, in seconds.
LOOK_SECONDS, MOST_SECONDS = 5.0, 15.0
#: What nobody has looked at for so long is not known any more, in seconds.
OLD_SECONDS = 60.0

#: Asks nobody and waits for nothing: what a part of the running services knows of itself.
Known = Callable[[], Iterable[Finding]]


class HubHealth:
    """system, hub: connections to SYS and HUB. findings: the newest ones, servers: what the servers said then; looked: when that was, monotonic,
    in seconds. known: what else is looked at, by its name: other parts of the services add theirs."""

    def __init__(self, system: Client, hub: Client, cluster: Cluster, watch: AlarmWatch) -> None:
        self._system, self._hub, self._cluster, self._watch = system, hub, cluster, watch
        self._machine = Machine()
        self._slow_routes: dict[str, int] = {}
        self._again = asyncio.Event()
        self.known: dict[str, Known] = {}
        self.findings: list[Finding] = [Finding("wrong", "services     they have just begun", "wait a moment", "services")]
        self.servers: list[ServerState] = []
        self.looked = time.monotonic()

    @property
    def totals(self) -> dict[str, int]:
        """How often what nats-server says of trouble happened, by the kind of event."""
        return {kind: self._watch.tally.totals[kind] for kind in alarms.kinds()}

    @property
    def is_healthy(self) -> bool:
        """As ``/healthz`` says it."""
        return self.answer(False)[0] == 200

    def look_again(self) -> None:
        """Soon: something of :attr:`known` is otherwise now."""
        self._again.set()

    async def run(self) -> None:
        """Look, for ever; until a connection has ended for good: whose that is says so."""
        with contextlib.suppress(Closed):
            while True:
                await self.look()
                await woken(self._again, jittered(LOOK_SECONDS))

    async def look(self) -> None:
        """Once. Raises Closed when a connection has ended for good."""
        servers: list[ServerState] = []
        try:
            asked = doctorservers.look(self._system, self._hub, self._cluster, self._machine)
            servers, found = await asyncio.wait_for(asked, MOST_SECONDS)
            found.insert(0, Finding("good", "nats-server  it answers", check="nats-server"))
        except Closed:
            raise
        except (EdgeError, asyncio.TimeoutError) as error:
            why = error.why if isinstance(error, EdgeError) else f"no answer within {MOST_SECONDS:g} s"
            found = [Finding("wrong", f"nats-server  {why}", "see server.log in the hub's folder", "nats-server")]
        for name, known in self.known.items():
            found += _of(name, known)
        self._note(servers)
        self.findings, self.servers, self.looked = found, servers, time.monotonic()

    def _note(self, servers: Sequence[ServerState]) -> None:
        """Routes that read too slowly stay up, so only the count of them tells."""
        for server in servers:
            before = self._slow_routes.get(server.name, server.slow_routes)
            if server.slow_routes > before:
                self._watch.happened("hub.slow_consumer", server.name, server.slow_routes - before)
            self._slow_routes[server.name] = server.slow_routes

    def answer(self, verbose: bool) -> tuple[int, dict[str, Any]]:
        """What ``/healthz`` answers: the HTTP status, and JSON. Costs nothing."""
        age = time.monotonic() - self.looked
        at = rfc3339(datetime.fromtimestamp(time.time() - age, timezone.utc))
        if age > OLD_SECONDS:
            stuck = Finding("wrong", f"services     nothing was looked at for {age:.0f} s", "start the hub again", "services")
            return page([stuck, *self.findings], at, verbose=verbose)
        return page(self.findings, at, verbose=verbose)


def _of(name: str, known: Known) -> list[Finding]:
    try:
        return list(known())
    except EdgeError as error:
        return [Finding("wrong", f"{name:<12} {error.what}: {error.why}", error.remedy, name)]
    except Exception as error:  # what nobody thought of in one part must not hide the others
        log.exception("cannot look at %s", name)
        return [Finding("warn", f"{name:<12} cannot be looked at: {error!r}", "see the hub's log", name)]


def page(findings: Sequence[Finding], at: str, *, verbose: bool) -> tuple[int, dict[str, Any]]:
    """Pure. Without ``verbose`` only the names of checks are told: texts name servers, addresses and paths."""
    bad = [finding for finding in findings if finding.level == "wrong"]
    heed = [finding for finding in findings if finding.level == "warn"]
    answer: dict[str, Any] = {"status": "wrong" if bad else "ok", "time": at}
    for key, some in (("wrong", bad), ("warn", heed)):
        answer[key] = list(dict.fromkeys(finding.check or finding.text.split()[0] for finding in some))
    if verbose:
        answer["findings"] = [
            {"level": each.level, "check": each.check, "text": _plain(each), "remedy": each.remedy} for each in findings
        ]
    return (503 if bad else 200), answer


def _plain(finding: Finding) -> str:
    """Without the column of names that a terminal shows."""
    name, _, rest = finding.text.partition(" ")
    return rest.strip() if name == finding.check else finding.text
