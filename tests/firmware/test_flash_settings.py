"""What becomes a board's settings.json, and which board is meant."""

from __future__ import annotations

import json
import re
import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from edgeagent.bridge.frames import encode
from edgeagent.errors import EdgeError, Refused, Unreachable, UsageProblem
from edgeagent.firmware import boards, boardsettings, greeting, source
from edgeagent.firmware.boards import Board
from edgeagent.trust import certificates
from tests.support.minifirmware import make

WIFI = {"ssid": "workshop", "password": "secret", "country": "DE"}


def login_file(folder: Path, **changed: str) -> Path:
    ends = datetime.now(timezone.utc) + timedelta(days=1)
    (folder / "mqtt-ca.pem").write_bytes(certificates.make_authority("pi-01", ends).certificate)
    values = {"MQTT_HOST": "192.168.1.5", "MQTT_PORT": "8883", "MQTT_USER": "oven", "MQTT_PASSWORD": "s3cret"}
    values |= {"MQTT_CA": "/etc/edgeagent/mcus/mqtt-ca.pem", "MQTT_TOPIC": "mcu/oven", **changed}
    path = folder / "oven.env"
    path.write_text("".join(f"{key}={value}\n" for key, value in values.items() if value))
    return path


def made(given: dict[str, Any] | None = None, login: Any = None, on_board: bytes | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(boardsettings.settings_for(given, login, on_board) or b"null")
    return found


def test_a_login_goes_into_the_settings_with_its_authority_beside_them(tmp_path: Path) -> None:
    login = boardsettings.read_login(login_file(tmp_path))
    table = {"host": "192.168.1.5", "port": 8883, "user": "oven", "password": "s3cret", "tls": True, "ca": "/ca.der"}
    assert made({"wifi": WIFI}, login) == {"wifi": WIFI, "mqtt": table, "id": "oven"}
    assert made(None, login, b'{"wifi": {"ssid": "x"}, "led": "LED"}')["led"] == "LED"
    assert login.ca == ssl.PEM_cert_to_DER_cert((tmp_path / "mqtt-ca.pem").read_text())


def test_without_an_authority_there_is_no_tls(tmp_path: Path) -> None:
    login = boardsettings.read_login(login_file(tmp_path, MQTT_CA=""))
    assert login.ca is None and login.values["tls"] is False and "ca" not in login.values


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"MQTT_PASSWORD": ""}, "it has no MQTT_PASSWORD. Name the file that `edgeagent mcu add ID` wrote"),
        ({"MQTT_PORT": "seven"}, "which is no port"),
        ({"MQTT_CA": "/etc/passwd-ca.pem"}, "put it beside oven.env"),
        ({"MQTT_CA": "oven.env"}, "no certificate in PEM form"),
    ],
)
def test_what_is_no_login_is_refused(tmp_path: Path, changed: dict[str, str], why: str) -> None:
    with pytest.raises(UsageProblem) as refused:
        boardsettings.read_login(login_file(tmp_path, **changed))
    assert why in str(refused.value) and "s3cret" not in str(refused.value)


def test_no_more_is_put_on_a_board_than_it_reads() -> None:
    said = re.search(r"MAX_BYTES, .* = (\d+),", (source.folder() / "app/config.py").read_text())
    assert said and int(said[1]) == boardsettings.MAX_BYTES


def test_settings_stay_unless_they_are_named_and_mqtt_needs_wifi(tmp_path: Path) -> None:
    assert boardsettings.settings_for(None, None, b"whatever it has") is None
    assert made()["interval_seconds"] == 10
    assert made({"wifi": {"ssid": "caf\u00e9 \N{HOT BEVERAGE}"}})["wifi"]["ssid"] == "caf\u00e9 \N{HOT BEVERAGE}"
    assert b"\\u" not in (boardsettings.settings_for({"id": "\N{GRINNING FACE}"}, None, None) or b"")
    speaking = [boardsettings.speaks_mqtt(text) for text in (b'{"mqtt": {"host": "x"}}', b'{"mqtt": null}', b"{", None)]
    assert speaking == [True, False, False, False]
    with pytest.raises(Refused, match=r"have no Wi-Fi. Name a file with --settings"):
        made(None, boardsettings.read_login(login_file(tmp_path)))
    for text in ("{", "[]", '{"interval_seconds": NaN}', "[" * 100_000, json.dumps({"a": "x" * boardsettings.MAX_BYTES})):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UsageProblem, match=r"bad\.json"):
            boardsettings.read(tmp_path / "bad.json")


# ---- which board ----


class Port(NamedTuple):
    device: str
    vid: int | None = 0x2E8A
    pid: int | None = 0x0005
    serial_number: str | None = "E66"


def test_the_only_board_is_meant_and_of_several_one_has_to_be_named() -> None:
    pico, other = Port("/dev/ttyACM0"), Port("/dev/ttyACM1", serial_number="E77")
    there = [
        other,
        Port("/dev/ttyUSB0", 0x1A86, 0x7523),
        Port("/dev/ttyS0", None, None, None),
        Port("/dev/ttyACM9", pid=0x000A),
        pico,
    ]
    assert boards.choose("", everyone=False, ports=lambda: there[1:]) == [Board("/dev/ttyACM0", "E66")]
    assert boards.choose("", everyone=True, ports=lambda: there) == [Board("/dev/ttyACM0", "E66"), Board("/dev/ttyACM1", "E77")]
    assert boards.choose("/dev/ttyACM1", everyone=False, ports=lambda: there) == [Board("/dev/ttyACM1", "E77")]
    with pytest.raises(UsageProblem, match=r"2 are plugged in: /dev/ttyACM0 \(E66\), /dev/ttyACM1 \(E77\). Name one with --port"):
        boards.choose("", everyone=False, ports=lambda: there)
    with pytest.raises(UsageProblem):
        boards.choose("/dev/ttyACM1", everyone=True, ports=lambda: there)
    with pytest.raises(Unreachable, match=r"none with MicroPython is plugged in.*BOOTSEL"):
        boards.choose("", everyone=False, ports=list)


def test_a_board_comes_back_under_another_name(tmp_path: Path) -> None:
    there = [[], [Port("/dev/ttyACM0", serial_number="E99")], [Port("/dev/ttyACM7")]]
    assert boards.wait_for_return(Board("/dev/ttyACM0", "E66"), ports=lambda: there.pop(0)) == Board("/dev/ttyACM7", "E66")
    known = [Board("/dev/ttyACM7", "E66")]
    assert (
        boards.wait_for_another(
            known, ports=lambda: [Port("/dev/ttyACM7"), Port("/dev/ttyACM8", serial_number="N")]
        ).serial_number
        == "N"
    )
    for lost in (Board("/dev/ttyACM7", "E77"), Board(str(tmp_path / "away"))):
        with pytest.raises(Unreachable, match="did not come back"):
            boards.wait_for_return(lost, ports=list, seconds=0)


# ---- what is put on it, and what it says then ----


def test_a_firmware_of_one_s_own_is_started_by_our_loader_or_by_its_own(tmp_path: Path) -> None:
    ours = {name: (source.folder() / name).read_bytes() for name in ("loader.py", "main.py")}
    assert source.read_root() == source.read_root(make(tmp_path)) == ours
    (tmp_path / "main.py").write_text("import mine")
    (tmp_path / "loader.py").write_text("")
    assert source.read_root(tmp_path)["main.py"] == b"import mine"


class Said:
    """A port at which this is said; ``written`` is what was asked."""

    def __init__(self, *said: bytes) -> None:
        self._said, self.written, self.in_waiting, self.timeout = list(said), b"", 0, 0.0

    def read(self, count: int) -> bytes:
        return self._said.pop(0) if self._said else b""

    def write(self, data: bytes) -> None:
        self.written += data


def hello(version: str) -> bytes:
    return encode(json.dumps({"t": "hello", "id": "x", "b": "1", "fw": version}).encode())


def test_a_hello_of_the_version_counts_and_so_does_its_line_where_it_speaks_mqtt() -> None:
    found = greeting.wait_for_hello(Said(b"MPY: soft reboot\r\n" + hello("1.0")[:9], hello("1.0"), hello("1.1")), "1.1")
    assert found is not None and found.fw == "1.1"
    assert greeting.wait_for_hello(Said(b"edgeagent firmware 1.1, oven on a Pico W\r\n"), "1.1", by_mqtt=True) is None


def test_what_the_board_finds_wrong_with_its_settings_is_told(tmp_path: Path) -> None:
    line, notes = b"settings: color is not known\r\n", list[str]()
    greeting.wait_for_hello(Said(b"settings: sens", b"or is not known\r\n" + hello("1.1")), "1.1", note=notes.append)
    first = b"edgeagent firmware 1.1, oven on a Pico W\r\n"
    greeting.wait_for_hello(Said(first, line, b"Wi-Fi: connected\r\n"), "1.1", by_mqtt=True, note=notes.append)
    assert notes == ["settings: sensor is not known", "settings: color is not known"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([hello("1.0")], "the board runs version 1.0"),
        ([hello("1.1").replace(b"1.1", b"9.9")], "the last that it printed|said nothing"),
        ([b"Traceback\r\nMemoryError: \r\n>>> \r\n"], "MemoryError"),
        ([b"edgeagent firmware 1.1, oven on a Pico\r\n"], "no hello; the last that it printed is 'edgeagent firmware 1.1"),
        ([], "said nothing"),
    ],
)
def test_anything_else_is_no_start(said: list[bytes], why: str) -> None:
    with pytest.raises(EdgeError, match=why):
        greeting.wait_for_hello(Said(*said), "1.1", seconds=0.05)
