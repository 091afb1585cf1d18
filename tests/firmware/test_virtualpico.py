"""The virtual Pico itself: what stands on it (the tests of flashing, the demo) is worth no more than it is."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import serial

from edgeagent.demo import virtualboard, virtualpico
from edgeagent.errors import UsageProblem
from edgeagent.firmware import programs
from tests.support.micropython import missing
from tests.support.servers import is_alive
from tests.support.virtualpico import Pico, wait_for

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

#: Answers each line with what it evaluates to; one that fails with the error.
ASK = """
import json, os, sys, time, machine, network
while True:
    line = sys.stdin.readline()
    try:
        print(json.dumps(eval(line)))
    except Exception as error:
        print(json.dumps(repr(error)))
"""


class Asked:
    """The port of a board that runs ``ASK``."""

    def __init__(self, pico: Pico) -> None:
        self._port = serial.Serial(str(pico.port.resolve()), timeout=10)

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *_: object) -> None:
        self._port.close()

    def __call__(self, expression: str) -> Any:
        self._port.write(f"{expression}\n".encode())
        return json.loads(self._port.read_until(b"\n"))


@pytest.fixture(scope="module")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Pico(tmp_path_factory.mktemp("pico"), files={"main.py": ASK, "settings.json": "{}"}) as pico:
        yield pico


def test_its_files_are_those_of_its_folder_and_no_others(pico: Pico) -> None:
    with Asked(pico) as ask:
        assert sorted(ask("os.listdir('/')")) == ["main.py", "settings.json"]
        assert ask("open('/settings.json').read()") == "{}" and ask("os.stat('/settings.json')[6]") == 2
        assert ask("open('/a.tmp', 'w').write('x') and os.rename('/a.tmp', '/slot.json')") is None
        assert (pico.flash / "slot.json").read_text() == "x" and not (pico.flash / "a.tmp").exists()
        assert ask("[os.mkdir('/a'), os.chdir('/a'), os.getcwd(), os.listdir('..'), os.chdir('/')][2]") == "/a"
        assert ask("open('/etc/passwd')") == ask("open('/../../../../../../etc/passwd')") == "OSError(2,)"
        assert ask("os.statvfs('/')[2]") == 212
        free = ask("os.statvfs('/')[3]")
        assert "28" in ask(f"[open('/fill%d' % n, 'w').write('x' * 40960) for n in range({free} // 10 + 2)]")
    for path in pico.flash.glob("fill*"):
        path.unlink()


def test_its_hardware_is_what_the_files_beside_it_say(pico: Pico) -> None:
    pico.inputs(pin14=1, adc26=1234, core_celsius=30.0, bme280={"celsius": 20.0})
    with Asked(pico) as ask:
        assert ask("[machine.Pin(14).value(), machine.ADC(26).read_u16(), machine.I2C(0).scan()]") == [1, 1234, [0x76]]
        assert abs(27 - (ask("machine.ADC(4).read_u16()") * 3.3 / 65535 - 0.706) / 0.001721 - 30) < 0.1
        ask("machine.Pin(15, machine.Pin.OUT).on()")
        assert (pico.world / "pins").read_text().splitlines()[-1] == "15 1"
        assert ask("[sys.platform, sys.implementation._machine]") == ["rp2", "Raspberry Pi Pico W with RP2040"]
        ask("[globals().update(w=network.WLAN()), w.active(True), w.connect('a', 'b')]")
        assert ask("[w.isconnected(), w.status()]") == [True, 3]
        (pico.world / "radio").write_text("badpw")
        assert ask("[w.isconnected(), w.status()]") == [False, -3]
        assert "8388" in ask("machine.WDT(timeout=9000)")


def test_a_watchdog_that_is_not_fed_resets_it_and_one_that_is_fed_does_not(pico: Pico) -> None:
    with Asked(pico) as ask:
        assert ask("[globals().update(w=machine.WDT(timeout=300)), machine.reset_cause()][1]") == 1
        assert ask("[(w.feed(), time.sleep_ms(20)) for _ in range(30)] and 7") == 7
        assert not pico.happened("watchdog")
        ask(f"exec({programs.DISARM!r})")
        pico.wait("disarm")
        ask("[machine.WDT(timeout=300), 7][1]")
    pico.wait("watchdog")
    pico.wait("boot")
    with Asked(pico) as ask:
        assert ask("machine.reset_cause()") == 3
        pico.tell("power")
        pico.wait("boot")
    with Asked(pico) as ask:
        assert ask("machine.reset_cause()") == 1


def test_what_is_open_when_it_is_unplugged_sees_the_end(pico: Pico) -> None:
    with Asked(pico) as ask:
        pico.tell("unplug")
        pico.wait("unplug")
        with pytest.raises((OSError, ValueError)):  # nothing comes, or the port says that it is gone
            ask("1")
        assert not pico.port.is_symlink()
    pico.tell("plug")
    pico.wait("boot")
    with Asked(pico) as ask:
        assert ask("1 + 1") == 2


def test_a_host_that_does_not_read_stops_nothing(tmp_path: Path) -> None:
    talks = "import machine\nn = 0\nwhile n < 800:\n    print('x' * 60)\n    n += 1\nmachine.Pin(1).on()\n"
    with Pico(tmp_path, files={"main.py": talks}) as pico:
        wait_for(lambda: (pico.world / "pins").exists(), "it printed more than anybody keeps")


def test_nothing_of_it_outlives_its_supervisor(tmp_path: Path) -> None:
    with Pico(tmp_path, files={"main.py": "while True:\n    pass\n"}) as pico:
        process = pico._process
        assert process
        child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: not is_alive(child), "its program ended too")


def test_the_interpreter_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAGENT_MICROPYTHON", "/opt/micropython")
    assert virtualboard.find_micropython() == virtualpico.find_micropython() == "/opt/micropython"


def test_without_an_interpreter_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtualpico, "find_micropython", lambda: "")
    monkeypatch.setattr("sys.argv", ["virtualpico", str(tmp_path), str(tmp_path / "link")])
    with pytest.raises(SystemExit, match="pip install"):
        virtualpico.main()


def test_a_folder_of_somebody_s_is_no_volume_and_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/precious").write_text("x")
    with pytest.raises(UsageProblem, match="there is something else"):
        virtualpico.VirtualPico(tmp_path / "f", tmp_path / "link", micropython="", volume=tmp_path / "mine")
    assert (tmp_path / "mine/precious").exists()
