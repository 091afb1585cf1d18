"""What the agent does with a board's messages (docs/microcontrollers.md), on a bad line, with a clock of its own: for tests."""

import json
import random

import frames
from session import Session
from store import Store
from ticks import ticks_add

STEP_MS = 300


class Agent:
    """taken: the values that were stored, in order. lost: what the board said that it dropped, of all boots."""

    def __init__(self):
        self.taken, self._last, self._lost = [], {}, {}
        self._boot = None
        self._quiet = 0
        self.to_say = []

    @property
    def lost(self):
        return sum(self._lost.values())

    def step(self):
        """It asks who says nothing for 5 s."""
        self._quiet += STEP_MS
        if self._quiet > 5000:
            self._quiet = 0
            self.to_say.append({"t": "hi"})

    def knows(self, boot, lost):
        return self._lost.get(boot, 0) == lost

    def hear(self, message):
        boot, self._quiet = message["b"], 0
        if message["o"] - 1 > self._last.get(boot, 0) and message["t"] == "r":
            self.to_say.append({"t": "hi"})
        last = max(self._last.get(boot, 0), message["o"] - 1)
        if message["t"] == "hello":
            self._last[boot] = last
            self._lost[boot] = max(self._lost.get(boot, 0), message["lost"])
            if boot != self._boot:
                self.to_say.append({"t": "hi"})
            self._boot = boot
            self.to_say.append({"t": "ack", "b": boot, "s": last})
        elif message["s"] > last + 1:
            self.to_say.append({"t": "hi"})
        else:
            if message["s"] == last + 1:
                self._last[boot] = last + 1
                self.taken.append(message["v"]["n"])
            self.to_say.append({"t": "ack", "b": boot, "s": self._last.get(boot, 0)})


class Line:
    """Between a board and ``agent``, in frames. torn: the part of what the board says that loses its end. lost_acks: of what it hears."""

    def __init__(self, agent, torn=0.0, lost_acks=0.0):
        self.agent, self.torn, self.lost_acks = agent, torn, lost_acks
        self._up, self._down = frames.Decoder(), frames.Decoder()
        self.is_up = True

    def step(self, session, now):
        for message in session.due(now):
            data = frames.encode(json.loads(json.dumps(message)))
            if random.random() < self.torn:
                data = data[: random.randrange(len(data))]
            for heard in self._up.feed(data):
                self.agent.hear(heard)
        self.agent.step()
        to_say, self.agent.to_say = self.agent.to_say, []
        for message in to_say:
            if random.random() >= self.lost_acks:
                for heard in self._down.feed(frames.encode(message)):
                    session.hear(heard, now)


class Board:
    """Measures ``n``, a number that is never the same, in each step. folder: of its flash; options: of its store."""

    def __init__(self, line, folder, **options):
        self.line, self.now, self.made = line, ticks_add(0, -7000), 0
        self._folder, self._options = folder, {"ring_bytes": 8 << 10}
        self._options.update(options)
        self.store = self.session = None
        self.gone = []  # what was in memory only when its power was cut
        self.forgotten = 0  # what was dropped in boots whose power was cut: some of it nobody was told
        self.start()

    def start(self):
        self.store = self.session = None  # the heap holds one
        self.store = Store(self.now, self._folder, **self._options)
        self.session = Session("oven", "0.1.0", "Pico", [], self.store, self.now)
        if self.line.is_up:
            self.session.connected()

    def plug(self, is_up):
        self.line.is_up = is_up
        (self.session.connected if is_up else self.session.disconnected)()

    def cut(self):
        self.gone += [json.loads(entry.partition(b" ")[2])["n"] for entry in self.store._ring.some(0, 9999)]
        self.forgotten += self.store._live.lost
        self.start()

    def step(self, measures=True):
        self.now = ticks_add(self.now, STEP_MS)
        if measures:
            self.made += 1
            self.store.put({"n": self.made}, self.now)
        self.store.spill(self.now)
        self.line.step(self.session, self.now)

    def deliver(self):
        """Without measuring, until nothing is left."""
        for _ in range(3000):
            is_last = self.store.boot == self.store._live.id and self.store.oldest > self.store.newest
            if is_last and self.line.agent.knows(self.store.boot, self.store.lost):
                return
            self.step(measures=False)
        raise AssertionError("%d to %d of %s were not delivered" % (self.store.oldest, self.store.newest, self.store.boot))
