"""`edgeagent firmware flash` at a virtual Pico: real MicroPython, a real port, the real command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import serial

from edgeagent.errors import Failed, Refused, Unreachable, UsageProblem
from edgeagent.firmware import boards, flash, repl
from edgeagent.firmware.boards import Board
from edgeagent.firmware.boardsettings import Login
from edgeagent.firmware.repl import Repl
from tests.support.micropython import missing
from tests.support.minifirmware import VERSION, make, wanted
from tests.support.virtualpico import Pico, wait_for

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

#: Runs, prints, and feeds its watchdog while it does.
BUSY = "import machine, time\nw = machine.WDT(timeout=8000)\nwhile True:\n    w.feed()\n    print('tick')\n    time.sleep(0.01)\n"
#: Hangs with a watchdog that bites soon.
HUNG = "import machine\nw = machine.WDT(timeout=250)\nwhile True:\n    pass\n"


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("firmware"))


def argv(pico: Pico, firmware: Path, *more: object) -> list[str]:
    command = [sys.executable, "-m", "edgeagent", "firmware", "flash", "--port", pico.port, "--source", firmware, "--json", *more]
    return [str(word) for word in command]


def run(pico: Pico, firmware: Path, *more: object) -> tuple[int, dict[str, Any], str]:
    """Exit code, the record of the board, and what was said about it."""
    ended = subprocess.run(argv(pico, firmware, *more), capture_output=True, text=True, timeout=60)
    return ended.returncode, json.loads(ended.stdout)[0] if ended.stdout else {}, ended.stderr


def put(pico: Pico, firmware: Path, **more: Any) -> flash.Flashed:
    return flash.flash(Board(str(pico.port)), wanted(firmware, **more), lambda *_: None)


def test_an_empty_board_gets_it_and_says_hello_and_a_second_time_nothing_is_written(tmp_path: Path, firmware: Path) -> None:
    with Pico(tmp_path) as pico:
        code, record, said = run(pico, firmware)
        assert (code, record["state"], said) == (0, "flashed", "")
        assert (record["version"], record["board"]) == (VERSION, "Raspberry Pi Pico W with RP2040")
        assert record["serial_number"] == "E6614103E7452F2A"
        manifest = json.loads((pico.flash / "a/manifest.json").read_text())
        assert manifest["version"] == VERSION and set(manifest["files"]) == {
            *("app.mpy", "version.mpy", "sensors/__init__.mpy", "sensors/zero.mpy")
        }
        assert json.loads((pico.flash / "slot.json").read_text()) == {"active": "a"}
        assert json.loads((pico.flash / "settings.json").read_text())["sensors"] == [{"kind": "chip"}]
        assert record["written"][-2:] == ["a/manifest.json", "slot.json"]

        (pico.flash / "settings.json").write_text('{"id": "oven"}')
        code, record, _ = run(pico, firmware)
        assert (code, record["written"], record["same"]) == (0, [], 8)
        assert (pico.flash / "settings.json").read_text() == '{"id": "oven"}'


def test_a_board_that_runs_is_interrupted_and_gets_only_what_is_new(tmp_path: Path, firmware: Path) -> None:
    had = {"main.py": BUSY, "a/old.mpy": "x", "slot.json": '{"active": "b", "bad": "1"}', "settings.json": " " * 9000}
    with Pico(tmp_path, files=had) as pico:
        flashed = put(pico, firmware, settings={"id": "oven"})
        assert json.loads((pico.flash / "settings.json").read_text()) == {"id": "oven"}, "instead of what no board reads"
        assert "main.py" in flashed.written and "kept on it as /main.py.old" in flashed.notes[0]
        assert (pico.flash / "main.py.old").read_text() == BUSY, "maybe it was the wrong board"
        assert not (pico.flash / "a/old.mpy").exists()
        newer = make(tmp_path / "newer", "9.9.2")
        flashed = put(pico, newer)
        assert (flashed.written, flashed.notes) == (["a/version.py", "a/manifest.json"], [])
        assert {each["cause"] for each in pico.happened("boot")[1:]} == {"soft"}


def test_modules_of_one_s_own_go_to_its_lib_and_what_else_is_there_stays(tmp_path: Path, firmware: Path) -> None:
    lib = tmp_path / "lib"
    (lib / "drivers").mkdir(parents=True)
    (lib / "sensor_tilt.py").write_text("x = 1\n")
    (lib / "drivers" / "bno.py").write_text("y = 1\n")
    with Pico(tmp_path / "pico", files={"lib/sensor_tilt.mpy": "older", "lib/other.py": "mine"}) as pico:
        code, record, _ = run(pico, firmware, "--lib", lib)
        assert code == 0 and {"lib/sensor_tilt.py", "lib/drivers/bno.py"} <= set(record["written"]) and record["link"] == "usb"
        there = sorted(path.relative_to(pico.flash / "lib").as_posix() for path in (pico.flash / "lib").rglob("*.*py"))
        assert there == ["drivers/bno.py", "other.py", "sensor_tilt.py"]
        (lib / "sensor_tilt.py").write_text("x = 2\n")
        assert run(pico, firmware, "--lib", lib)[1]["written"] == ["lib/sensor_tilt.py"]
        assert (pico.flash / "lib" / "sensor_tilt.py").read_text() == "x = 2\n"


def test_a_board_that_hangs_is_saved_from_its_watchdog_which_else_resets_it_in_the_middle(tmp_path: Path, firmware: Path) -> None:
    twice_as_long = "import time\ntime.sleep_ms(500)"
    with Pico(tmp_path, files={"main.py": HUNG}) as pico:
        pico.wait("armed")
        with Repl(str(pico.port), disarm="pass") as board, pytest.raises(Unreachable, match="unplugged, or reset"):
            board.run(twice_as_long)
        pico.wait("watchdog")
        pico.wait("armed")
        with Repl(str(pico.port)) as board:
            pico.wait("disarm")
            bitten = pico.happened("watchdog")
            board.run(twice_as_long)
            assert pico.happened("watchdog") == bitten
        put(pico, firmware)
        assert pico.events[-2:] == [{"event": "boot", "cause": "soft"}, {"event": "armed"}]  # by the loader, once more


def test_what_was_unplugged_in_the_middle_is_completed(tmp_path: Path, firmware: Path) -> None:
    big = make(tmp_path / "big", app_big="x = '" + 90_000 * "y" + "'\n")
    with Pico(tmp_path / "pico") as pico:
        process = subprocess.Popen(argv(pico, big), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: (pico.flash / "a/big.mpy.new").exists(), "it is being written")
        pico.tell("unplug")
        said = json.loads(process.communicate(timeout=60)[0])[0]
        assert (process.returncode, said["state"]) == (1, "failed") and "it was unplugged, or reset" in said["problem"]
        assert not (pico.flash / "a/manifest.json").exists() and not (pico.flash / "slot.json").exists()
        pico.tell("plug")
        pico.wait("unplug")
        pico.wait("boot")
        code, record, _ = run(pico, big)
        assert code == 0 and {"a/big.mpy", "a/manifest.json", "slot.json"} <= set(record["written"])
        assert "a/app.mpy" not in record["written"] and record["same"]  # it was there already
        assert not list(pico.flash.rglob("*.new"))


def test_a_port_that_another_program_has_is_left_to_it(tmp_path: Path, firmware: Path) -> None:
    with Pico(tmp_path, files={"main.py": BUSY}) as pico, serial.Serial(str(pico.port.resolve()), exclusive=True):
        code, record, _ = run(pico, firmware)
        assert (code, record["state"]) == (1, "failed")
        assert "uses it" in record["problem"] and "systemctl stop edgeagent" in record["problem"]
        assert not (pico.flash / "loader.py").exists()


def test_one_that_can_t_run_it_is_refused_and_goes_on(tmp_path: Path, firmware: Path) -> None:
    with Pico(tmp_path / "old", files={"main.py": BUSY}, version=[1, 24, 1]) as pico:
        with pytest.raises(Refused, match=r"MicroPython 1\.24\.1, and the firmware needs 1\.25"):
            put(pico, firmware)
        with serial.Serial(str(pico.port.resolve()), timeout=10) as port:
            assert b"tick" in port.read_until(b"tick")
        assert not (pico.flash / "loader.py").exists()
    with Pico(tmp_path / "esp", machine="Generic ESP32 module with ESP32") as pico, pytest.raises(Refused, match="ESP32"):
        put(pico, firmware)


def test_an_rp2350_is_flashed_and_said_to_be_untested(tmp_path: Path, firmware: Path) -> None:
    with Pico(tmp_path, machine="Raspberry Pi Pico 2 W with RP2350") as pico:
        assert put(pico, firmware).notes == ["the RP2350 is untested"]


def test_a_firmware_that_breaks_is_told_with_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "wait_for_hello", lambda port, version, **more: _hello(port, version, seconds=1.0))
    broken = make(tmp_path / "broken", app_app="async def main(watchdog):\n    raise RuntimeError('no oven')\n")
    with Pico(tmp_path / "pico") as pico, pytest.raises(Exception, match="RuntimeError: no oven"):
        put(pico, broken)


_hello = flash.wait_for_hello

#: Talks for ever, also while it is at its prompt.
TALKS = """
import _thread
def talk():
    while True:
        print("x" * 200)
_thread.start_new_thread(talk, ())
"""


def test_a_board_that_never_stops_talking_is_given_up(tmp_path: Path, firmware: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repl, "TRIES", 1)
    monkeypatch.setattr(repl, "MAX_ANSWER_BYTES", 20_000)
    with (
        Pico(tmp_path, files={"boot.py": TALKS}) as pico,
        pytest.raises(Unreachable, match=r"does not come to|stopped answering"),
    ):
        put(pico, firmware)


#: Whatever it is asked at its prompt, it answers this.
LIES = """
import sys
class Json:
    @staticmethod
    def dumps(value):
        return ANSWER
sys.modules["json"] = Json
"""


@pytest.mark.parametrize("answer", ["[1, 2]", '["micropython", "x", 5, 0, {}, []]', "[" * 5000])
def test_a_board_that_answers_nonsense_is_told_of_in_words(tmp_path: Path, firmware: Path, answer: str) -> None:
    boot = LIES.replace("ANSWER", repr(answer))
    with Pico(tmp_path, files={"boot.py": boot}) as pico, pytest.raises(Failed, match=r"ask the board at .*: it answered"):
        put(pico, firmware)


def test_what_a_board_says_of_itself_moves_nobody_s_cursor(tmp_path: Path, firmware: Path) -> None:
    with Pico(tmp_path, machine="\x1b[2J RP2040 \u202e") as pico:
        table = subprocess.run([*argv(pico, firmware)[:-1]], capture_output=True, text=True, timeout=60)
        assert (
            table.returncode == 0 and "\x1b" not in table.stdout and "\u202e" not in table.stdout and " RP2040 " in table.stdout
        )


LOGIN = {"host": "192.168.1.5", "port": 8883, "user": "oven", "password": "s3cret", "tls": True, "ca": "/ca.der"}
#: Says hello elsewhere.
SPEAKS_MQTT = """
import asyncio
from version import VERSION
async def main(watchdog):
    print("edgeagent firmware %s, oven on a Pico W" % VERSION)
    while True:
        watchdog.feed()
        await asyncio.sleep(1)
"""


def test_a_login_by_mqtt_is_put_on_a_board_with_wifi_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    firmware = make(tmp_path / "firmware", app_app=SPEAKS_MQTT)
    how: dict[str, Any] = {"settings": {"wifi": {"ssid": "x"}}, "login": Login(LOGIN, "oven", b"DER")}
    with Pico(tmp_path / "w") as pico:
        assert {"ca.der", "settings.json"} <= set(put(pico, firmware, **how).written)
        assert (pico.flash / "ca.der").read_bytes() == b"DER"
        assert json.loads((pico.flash / "settings.json").read_text()) == {"wifi": {"ssid": "x"}, "mqtt": LOGIN, "id": "oven"}
        again = put(pico, firmware)
        assert (again.written, again.link) == ([], "mqtt")  # it goes on to speak MQTT
    with Pico(tmp_path / "plain", machine="Raspberry Pi Pico with RP2040", build="RPI_PICO") as pico:
        with pytest.raises(Refused, match="Raspberry Pi Pico with RP2040 has no Wi-Fi"):
            put(pico, firmware, **how)
        assert not list(pico.flash.iterdir())
    assert "s3cret" not in "".join(capfd.readouterr())


def test_without_mpremote_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpremote.transport_serial", None)
    with pytest.raises(UsageProblem, match=r"pip install 'edgeagent\[flash\]'"):
        repl.check_installed()


def test_all_boards_are_flashed_and_one_that_fails_stops_no_other(
    tmp_path: Path, firmware: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serial.tools import list_ports, list_ports_common
    from typer.testing import CliRunner

    from edgeagent.cli import app

    def port(path: str, serial_number: str, vid: int = boards.VENDOR) -> Any:
        found = list_ports_common.ListPortInfo(path, skip_link_detection=True)
        found.vid, found.pid, found.serial_number = vid, boards.MICROPYTHON, serial_number
        return found

    with Pico(tmp_path / "one") as one:
        there = [port(str(one.port), "E66"), port("/dev/no-such-port", "E77"), port("/dev/ttyUSB9", "A", vid=0x1A86)]
        monkeypatch.setattr(list_ports, "comports", lambda: there)
        monkeypatch.setattr(repl, "OPEN_SECONDS", 0.0)
        ended = CliRunner().invoke(app, ["firmware", "flash", "--all", "--json", "--source", str(firmware)])
        states = {record["port"]: record["state"] for record in json.loads(ended.stdout)}
        assert (ended.exit_code, states) == (1, {str(one.port): "flashed", "/dev/no-such-port": "failed"})
