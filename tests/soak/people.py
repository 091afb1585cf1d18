"""What people do at the same time: each kind of call again and again, by the real command line, one after the other of a kind."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edgeagent.subjects import FLEET_ALL, Scope
from tests.soak.judging import Call, Order
from tests.soak.site import CONTEXT, Site, answered
from tests.support.fleet import Said

__all__ = ["People"]

#: From the end of a call to the beginning of the next one of its kind, a mean in seconds.
APART_SECONDS = 4.0
#: How long the program of a command takes, twice, in seconds.
WORK_SECONDS = 0.05


@dataclass
class People:
    """context: of the hub that they use now. calls: all that were made. orders: the commands among them. notes: by the context, those of
    changes of the configuration, True: it was acknowledged. shifts: how often they have begun to work."""

    site: Site
    seed: int
    context: str = CONTEXT
    calls: list[Call] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    notes: dict[str, dict[str, bool]] = field(default_factory=dict)
    shifts: int = 0

    async def run(self, over: asyncio.Event) -> None:
        """Until it is over; may be done again."""
        self.shifts += 1
        kinds: dict[str, Callable[[random.Random, int], list[str]]] = {
            "config set": self._config,
            "config status": lambda drawn, number: ["config", "status", "--json"],
            "cmd run": self._command,
            "fleet ls": lambda drawn, number: ["fleet", "ls", "--json"],
            "fleet query": lambda drawn, number: ["fleet", "query", "true", "--json"],
            "metrics show": self._metrics,
            "token ls": lambda drawn, number: ["token", "ls", "--json"],
        }
        await asyncio.gather(*(self._again(kind, words, over) for kind, words in kinds.items()))

    async def _again(self, kind: str, words: Callable[[random.Random, int], list[str]], over: asyncio.Event) -> None:
        drawn, number = random.Random(f"{self.seed} {self.shifts} {kind}"), self.shifts * 1000
        while not over.is_set():
            number += 1
            await self._call(kind, words(drawn, number))
            await asyncio.sleep(drawn.expovariate(1 / APART_SECONDS))

    async def _call(self, kind: str, words: list[str]) -> None:
        begun, context = time.monotonic(), self.context
        try:
            said = await self.site.cli(*words, "--context", context)
        except subprocess.TimeoutExpired:
            said = Said(-1, "", "it hung, and was killed")
        error = "" if said.code == 0 else said.err.strip() or f"exit code {said.code}"
        found = frozenset(answered(said)) if kind == "fleet query" else frozenset()
        self.calls.append(Call(kind, begun, time.monotonic(), error, found))
        if kind == "cmd run":
            order = self.orders[-1]
            order.id, order.error = json.loads(said.out)["id"] if not error else "", error
        elif kind == "config set":
            self.notes.setdefault(context, {})[words[-1]] = not error

    def forget(self) -> None:
        """What was set before this shift need not be there: the hub went back since."""
        notes = self.notes[self.context]
        notes.update(dict.fromkeys((note for note in notes if int(note[1:]) < self.shifts * 1000), False))

    async def set_all(self) -> None:
        """Set something anew in every scope: what was set at a hub that is gone, or that devices were leaving, is older than what they follow."""
        whoms = [["--fleet"], *(["-g", group] for group in self.site.groups), *(["-d", each.id] for each in self.site.devices)]
        for number, whom in enumerate(whoms):
            note = f"n{self.shifts * 1000 + 500 + number}"
            await self.site.made("config", "set", *whom, f"app.soak.again={number}", "-m", note, "--context", self.context)
            self.notes[self.context][note] = True

    # ---- what they type ----

    def _whom(self, drawn: random.Random, everybody: list[str]) -> tuple[list[str], Scope]:
        device, group = drawn.choice(self.site.devices).id, drawn.choice(self.site.groups)
        options: list[tuple[list[str], Scope]] = [
            (["-d", device], Scope.device(device)),
            (["-g", group], Scope.group(group)),
            (everybody, FLEET_ALL),
        ]
        return drawn.choices(options, (5, 2, 2))[0]

    def _config(self, drawn: random.Random, number: int) -> list[str]:
        whom, scope = self._whom(drawn, ["--fleet"])
        return ["config", "set", *whom, f"app.soak.{scope.kind}={number}", "-m", f"n{number}"]

    def _command(self, drawn: random.Random, number: int) -> list[str]:
        whom, scope = self._whom(drawn, ["--all"])
        line = f"c{number}"
        self.orders.append(Order(line, (scope,), self.context))
        argv = json.dumps(["append", str(WORK_SECONDS), line])
        return ["cmd", "run", "exec", f"argv={argv}", *whom, "--yes", "--detach", "--json", "--expires", "1h"]

    def _metrics(self, drawn: random.Random, number: int) -> list[str]:
        return ["metrics", "show", drawn.choice(self.site.devices).id, "n", "--since", "2m", "--json"]
