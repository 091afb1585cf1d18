"""What agents and microcontrollers say to each other: read by its meaning, refused where it has none, and in ASCII."""

from __future__ import annotations

import json

import pytest

from edgeagent.mcumessages import (
    MAX_VALUES,
    Ack,
    Act,
    Command,
    Configuration,
    Hello,
    Hi,
    Reading,
    Result,
    encode,
    parse,
    samples_of,
)


def test_what_a_microcontroller_says_is_read() -> None:
    hello = parse(b'{"t":"hello","id":"oven","fw":"1.2.0","b":"5f","seq":7,"o":3,"lost":2,"acts":["led"],"newer":1}')
    assert hello == Hello(id="oven", fw="1.2.0", b="5f", seq=7, o=3, lost=2, acts=[Act(a="led")])
    assert parse(b'{"t":"r","b":"5f","s":7,"o":3,"v":{"temperature":21.5,"door":true},"a":1500}') == Reading(
        b="5f", s=7, o=3, v={"temperature": 21.5, "door": True}, a=1500
    )
    assert parse(b'{"t":"res","id":"x","ok":false,"why":"no such pin"}') == Result(id="x", ok=False, why="no such pin")
    assert parse(b'{"t":"hello","bad":"' + b"1" * 99 + b'"}') == Hello(bad="1" * 64), "who reads it has little room"


def test_commands_are_named_or_say_more() -> None:
    hello = parse(b'{"t":"hello","acts":["beep",{"a":"led","sw":"on","v":"lamp","newer":1},{"a":"fan"}]}')
    assert isinstance(hello, Hello)
    assert hello.commands == [Act(a="beep"), Act(a="led", sw="on", v="lamp"), Act(a="fan")]
    assert parse(encode(hello)) == hello


def test_messages_of_newer_firmware_are_nothing() -> None:
    assert parse(b'{"t":"weather","x":1}') is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"\xff",
        b"{}",
        b'{"t":1}',
        b'{"t":"r"}',
        b'{"t":"hello","acts":[{"sw":"on"}]}',
        b'{"t":"r","b":"a","s":-1}',
        b'{"t":"r","b":"a","s":1.5}',
        b'{"t":"r","b":"a","s":"1"}',
        b'{"t":"r","b":"a","s":%d}' % (1 << 53),
        b'{"t":"r","b":"a","s":1,"a":-1}',
        b'{"t":"r","b":"a","s":1,"a":1e300}',
        b'{"t":"r","b":"a","s":1,"v":{"x":[1]}}',
        b'{"t":"r","b":"' + b"a" * 100 + b'","s":1}',
        b'{"t":"r","b":"a","s":1,"v":' + json.dumps(dict.fromkeys(map(str, range(MAX_VALUES + 1)), 1)).encode() + b"}",
        b'{"t":"hello","o":-1}',
        b'{"t":"hello","acts":' + json.dumps(["x"] * 100).encode() + b"}",
        b'{"t":"res"}',
        b'{"t":"res","id":"x","v":' + b"[" * 2000 + b"]" * 2000 + b"}",
    ],
    ids=range(22),
)
def test_what_makes_no_sense_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse(data)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Hi(), b'{"t":"hi"}'),
        (Hi(u=1795240000000), b'{"t":"hi","u":1795240000000}'),
        (Ack(b="5f", s=12), b'{"t":"ack","b":"5f","s":12}'),
        (Command(id="01", a="led", args={"on": 1}), b'{"t":"cmd","id":"01","a":"led","args":{"on":1}}'),
        (Configuration(v={"name": "Küche \N{FIRE}"}), b'{"t":"cfg","v":{"name":"K\\u00fcche \\ud83d\\udd25"}}'),
    ],
    ids=["hi", "time", "ack", "command", "configuration"],
)
def test_what_is_said_to_one_is_ascii(message: Hi | Ack | Command | Configuration, text: bytes) -> None:
    assert encode(message) == text


def test_a_reading_is_samples_with_its_texts_as_attributes() -> None:
    reading = Reading(b="a", s=1, v={"temperature": 21.5, "open": True, "place": "door", "nothing": None}, a=2500)
    samples = samples_of("oven", reading, 1000.0)
    assert [(each.metric, each.value, each.time) for each in samples] == [
        ("mcu.temperature", 21.5, 997.5),
        ("mcu.open", 1, 997.5),
    ]
    assert samples[0].attributes == {"place": "door", "mcu": "oven"}


def test_nobody_speaks_for_another() -> None:
    assert samples_of("oven", Reading(b="a", s=1, v={"x": 1, "mcu": "fridge"}), 1.0)[0].attributes == {"mcu": "oven"}
