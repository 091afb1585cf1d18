"""The demo's microcontroller keeps to the protocol: what a host hears of it, torn or whole."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeagent.bridge.frames import Decoder, encode
from edgeagent.demo.greenhouse import RING, WINDOW, Greenhouse
from edgeagent.mcumessages import Ack, Act, Command, Configuration, Hello, Hi, Reading, Result, parse
from edgeagent.mcumessages import encode as said


class Host:
    """What it wrote, as a host reads it."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self.heard: list[Any] = []
        self.lines: list[bytes] = []
        self.board = Greenhouse(self._take)

    def _take(self, data: bytes) -> None:
        for found in self._decoder.feed(data):
            if found.is_frame:
                self.heard.append(parse(found.data))
            else:
                self.lines.append(found.data)

    def say(self, message: Any, now: float = 0.0) -> None:
        self.board.feed(encode(said(message)), now)

    def of(self, kind: type) -> list[Any]:
        return [each for each in self.heard if isinstance(each, kind)]


def test_a_reading_is_sent_until_it_is_acknowledged() -> None:
    host = Host()
    host.say(Hi())
    hello = host.of(Hello)[0]
    assert (hello.o, hello.seq, hello.acts) == (1, 0, [Act(a="led", sw="on", v="led")])
    host.board.work(0.0)
    host.board.work(0.1)
    assert [each.s for each in host.of(Reading)] == [1]
    host.board.work(1.5)
    assert [(each.s, each.a) for each in host.of(Reading)] == [(1, 0), (1, 1500)]
    host.say(Ack(b=hello.b, s=1), 1.6)
    host.board.work(1.7)
    host.board.work(2.0)
    assert [each.s for each in host.of(Reading)] == [1, 1, 2]
    assert set(host.of(Reading)[0].v) == {"temperature", "humidity", "led"}


def test_a_host_that_is_away_costs_the_oldest_and_that_is_told() -> None:
    host = Host()
    for step in range(RING + 10):
        host.board.work(step * 2.0)
    host.heard.clear()
    last = (RING + 9) * 2.0
    host.say(Hi(), last)
    assert (host.of(Hello)[0].o, host.of(Hello)[0].lost) == (11, 10)
    host.board.work(last)
    assert [each.s for each in host.of(Reading)] == list(range(11, 11 + WINDOW))


def test_a_command_is_done_once_however_often_it_comes() -> None:
    host = Host()
    for _ in range(3):
        host.say(Command(id="x", a="led", args={"on": 1}))
    assert host.of(Result) == [Result(id="x", v={"on": 1})] * 3
    assert host.lines == [b"the lamp is on"]
    host.say(Command(id="y", a="fly"))
    assert not host.of(Result)[-1].ok and "led" in host.of(Result)[-1].why


def test_configuration_sets_how_often_it_measures() -> None:
    host = Host()
    host.say(Hi())
    host.say(Configuration(v={"interval_seconds": 10}))
    host.say(Configuration(v=msgspec.json.decode(b'{"interval_seconds": "often"}')))
    for step in range(25):
        host.board.work(float(step))
    assert {each.s for each in host.of(Reading)} == {1, 2, 3}
