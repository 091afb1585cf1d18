"""A board whose link is MQTT, run by MicroPython: ``mqttboard.py SETTINGS COUNT``. It measures COUNT readings, one each 10 ms, and prints
what it says and how it is as lines of JSON. The protocol's side is as short as it can be; what is looked at is the link."""

import asyncio
import json
import os
import sys

from clock import Clock
from mqttlink import MqttLink
from ticks import ticks_diff

WINDOW, AGAIN_MS = 16, 800


class Session:
    def __init__(self, mcu_id):
        self.id, self.boot = mcu_id, os.urandom(4).hex()
        self.kept, self.newest, self.sent, self.at, self.to_say, self.done = [], 0, 0, 0, [], []

    def measure(self):
        self.newest += 1
        self.kept.append(self.newest)

    def hello(self):
        oldest = self.kept[0] if self.kept else self.newest + 1
        return {"t": "hello", "id": self.id, "b": self.boot, "seq": self.newest, "o": oldest, "acts": ["led"]}

    def connected(self):
        self.to_say, self.sent = [self.hello()], 0

    def disconnected(self):
        pass

    def hear(self, message, now):
        if message["t"] == "hi":
            self.connected()
        elif message["t"] == "ack" and message["b"] == self.boot:
            while self.kept and self.kept[0] <= message["s"]:
                self.kept.pop(0)
                self.sent = max(0, self.sent - 1)
            self.at = now
        elif message["t"] == "cmd":
            self.done.append(message["id"])
            self.to_say.append({"t": "res", "id": message["id"], "v": message["args"]})

    def due(self, now):
        due, self.to_say = self.to_say, []
        if self.sent and ticks_diff(now, self.at) > AGAIN_MS:
            self.sent = 0
        if not self.sent:
            self.at = now
        for seq in self.kept[self.sent : WINDOW]:
            due.append({"t": "r", "b": self.boot, "s": seq, "o": self.kept[0], "v": {"n": seq}})
        self.sent = max(self.sent, min(WINDOW, len(self.kept)))
        return due


class Keeper:
    beats = 0

    def beat(self, name):
        self.beats += 1


def say(**what):
    print(json.dumps(what))


async def measure(session, count):
    for _ in range(count):
        session.measure()
        await asyncio.sleep(0.01)


async def tell(link, session, keeper):
    while True:
        say(up=link.is_up, measured=session.newest, kept=len(session.kept), beats=keeper.beats, done=len(session.done))
        await asyncio.sleep(0.1)


async def main(settings, count):
    session, keeper = Session(settings["id"]), Keeper()
    link = MqttLink(settings, Clock(), None, lambda text: say(said=text))
    tasks = [asyncio.create_task(each) for each in (measure(session, count), tell(link, session, keeper))]
    await link.run(session, keeper)
    return tasks


asyncio.run(main(json.loads(sys.argv[1]), int(sys.argv[2])))
