"""The file of microcontrollers, and what is told of MQTT's streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from edgeagent import mcus
from edgeagent.assembly import logins, mqttlogin
from edgeagent.assembly.mcus import listed
from edgeagent.assembly.mqttcare import full
from edgeagent.errors import Failed, Refused
from edgeagent.leaf.conftext import rights
from edgeagent.leaf.mqtt import port_to_tell
from edgeagent.leaf.mqttconf import MqttConf, account, listener
from edgeagent.leaf.mqttstreams import STREAMS, Use
from edgeagent.leaf.storelimit import MQTT_MIN_BYTES, mqtt_bytes
from edgeagent.mcus import Mcu
from edgeagent.mqttsettings import MqttSettings
from edgeagent.natsserver import ports
from edgeagent.patterns.mcus import Mcus
from edgeagent.settings import parse
from tests.support.mqtting import listening

MIB = 1 << 20


def test_what_is_saved_is_loaded_and_only_the_agent_reads_it(tmp_path: Path) -> None:
    known = {"m1": Mcu(id="m1", password="secret", wired={"serial": "x"}), "m2": Mcu(id="m2")}
    mcus.save(tmp_path / mcus.FILE, known)
    assert mcus.load(tmp_path / mcus.FILE) == known and mcus.load(tmp_path / "none") == {}
    assert (tmp_path / mcus.FILE).stat().st_mode & 0o777 == 0o600
    assert "secret" not in repr(known)


def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / mcus.FILE).write_text("[")
    with pytest.raises(Failed, match="edgeagent mcu add"):
        mcus.load(tmp_path / mcus.FILE)


def test_names_are_one_list(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    wanted = parse('[paths]\nstate = "state"', tmp_path / "agent.toml")
    mcus.save(logins.kept(wanted, mcus.FILE), {"m1": Mcu(id="m1")})
    assert [mcu.id for mcu in listed(wanted)] == ["m1"]
    logins.check_free(wanted, "x", "m1", but="microcontroller")
    with pytest.raises(Refused, match="a microcontroller is called so"):
        logins.check_free(wanted, "x", "m1", but="program")


def test_what_a_microcontroller_is_told_before_the_agent_ever_ran(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    wanted = parse('[mqtt]\nlisten = "0.0.0.0"\ntls = "self"\nport = 18831\n[paths]\nstate = "state"', tmp_path / "agent.toml")
    handed = mqttlogin.for_mcu(wanted, Mcu(id="m1", password="secret"), tmp_path / "out")
    values = dict(line.split("=", 1) for line in handed.text.splitlines())
    assert values.pop("MQTT_HOST") and values == {
        "MQTT_PORT": "18831",
        "MQTT_USER": "m1",
        "MQTT_PASSWORD": "secret",
        "MQTT_CA": str(tmp_path / "out" / "mqtt-ca.pem"),
        "MQTT_TOPIC": "mcu/m1",
    }
    assert b"PRIVATE" not in (tmp_path / "out" / "mqtt-ca.pem").read_bytes()


def test_a_password_with_quotes_breaks_nothing_and_is_not_shown() -> None:
    conf = MqttConf(host="127.0.0.1", port=1, store_bytes=1, agent_password='a"b', mcus=(Mcu(id="m1", password='x" } }'),))
    assert '"a\\"b"' in account(conf) and '"x\\" } }"' in account(conf) and 'a"b' not in repr(conf)
    assert "tls" not in listener(conf) and rights(["a"]) == '{ allow: ["a"], deny: [] }'


def test_the_streams_have_all_that_mqtt_may_take_and_no_more() -> None:
    assert sum(share for share, _ in STREAMS.values()) == 1


@pytest.mark.parametrize(("wished", "limit", "given"), [(32, 512, 32), (32, 128, 16), (32, 16, 4), (64, 512, 64), (128, 512, 64)])
def test_mqtt_takes_an_eighth_at_most(wished: int, limit: int, given: int) -> None:
    assert mqtt_bytes(wished * MIB, limit * MIB) == given * MIB >= MQTT_MIN_BYTES


@pytest.mark.parametrize("stream", STREAMS)
def test_each_stream_that_is_full_is_told_with_what_that_means(stream: str) -> None:
    assert full([Use(stream, 94, 100)]) == []
    (problem,) = full([Use(stream, 95, 100)])
    assert "room that they have" in problem.what and "mqtt.store_max_bytes" in problem.remedy


def test_the_port_that_was_told_is_told_again_whoever_has_it_now(tmp_path: Path) -> None:
    wanted = MqttSettings(port=ports.pick())
    with listening(wanted.port):
        told = port_to_tell(tmp_path, wanted)
        assert told != wanted.port, "it was taken before anybody was told"
    with listening(told):
        assert port_to_tell(tmp_path, wanted) == told, "our own leaf may have it"


def test_a_version_that_it_went_back_from_is_an_event_when_it_happens() -> None:
    told: list[tuple[str, str, str]] = []
    register = Mcus(cast("Any", None), tell=lambda severity, kind, text, **data: told.append((severity, kind, text)))

    def hello(firmware: str, boot: str, bad: str = "") -> None:
        register.heard("oven", json.dumps({"t": "hello", "fw": firmware, "b": boot, "bad": bad}).encode())

    hello("0.1.0", "a", "0.0.9")
    assert told == [], "it went back before this agent began, and who knows when"
    for each in (
        ("0.1.0", "a"),
        ("0.1.0", "b", "0.2.0"),
        ("0.1.0", "c", "0.2.0"),
        ("0.1.0", "d", "lies"),
        ("0.1.0", "e", "0.2.0"),
    ):
        hello(*each)
    assert told == [("warning", "mcu.went_back", "the microcontroller oven went back from firmware 0.2.0 to 0.1.0")]
    assert "`edgeagent mcu send oven dismiss` is content with 0.1.0" in register.status()[0].problem
    hello("0.1.0", "e")
    assert register.status()[0].problem == "" and len(told) == 1
