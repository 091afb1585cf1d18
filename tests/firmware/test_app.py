"""The whole of the firmware's app in MicroPython, with a stand-in for the hardware, spoken to by its serial line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgeagent import mcumessages
from tests.firmware.test_on_both import FOLDER
from tests.support.boardpty import BoardPty
from tests.support.micropython import APP, environment, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

SCRIPT = """
import fakemachine, gc
fakemachine.install()
fakemachine.inputs[("adc", 26)] = 32768
import app, board, commands, config, micropython
config.PATH, config.KEPT = "settings.json", "kept"
watchdog = fakemachine.WDT(8388)
fakemachine.reset = lambda: print("reset, fed", watchdog.fed)
commands.command("memory")(lambda args: (gc.collect(), micropython.mem_info()))
def disarm(disarms=board.disarm):
    try:
        disarms()
    except MemoryError:  # "heap is locked": here the signal may come in the midst of a collection; on a board Ctrl-C waits for its end
        gc.collect()
        disarms()
board.disarm = disarm
try:
    app.run(watchdog)
except KeyboardInterrupt:
    print("stopped", fakemachine.mem32)
"""


LOADER = """
state = dict
bad = "0.9.0"
def on_trial(): return True
def confirm(): print("confirmed")
def crashed(): return "version 0.9.0 ended with\\nRuntimeError: no oven"
"""
UPDATE = """
from commands import command
def before_restart(): pass
command("update.status")(lambda args: {})
command("update.end")(lambda args: {"is_kept": before_restart()})
"""


def board(tmp_path: Path, settings: Any) -> BoardPty:
    (tmp_path / "settings.json").write_text(settings if isinstance(settings, str) else json.dumps(settings))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return BoardPty(script, environment(APP, FOLDER), tmp_path)


def asked(its: BoardPty, action: str, **args: Any) -> dict[str, Any]:
    command_id = f"c{len(its.messages)}"
    its.say({"t": "cmd", "id": command_id, "a": action, "args": args})
    return its.message(t="res", id=command_id)


def test_it_measures_and_does_what_it_is_told(tmp_path: Path) -> None:
    settings = {
        "id": "oven",
        "interval_seconds": 0.2,
        "sensors": [{"kind": "adc", "pin": 26, "name": "light"}, {"kind": "bme280", "sda": 4, "scl": 5}],
        "outputs": {"lamp": 15},
    }
    with board(tmp_path, settings) as its:
        hello = its.message(t="hello")
        parsed = mcumessages.parse(json.dumps(hello).encode())
        assert isinstance(parsed, mcumessages.Hello) and parsed.id == "oven" and "MicroPython" in parsed.hw
        assert {"led", "pin.lamp", "read", "identify", "reset", "interval", "settings"} <= {each.a for each in parsed.commands}
        its.line("sensor bme280 does not work")
        its.say({"t": "hi"})
        first = its.message(t="r", s=1)
        assert first["v"] == {"light": 1.65, "led": 0, "lamp": 0}
        its.say({"t": "ack", "b": first["b"], "s": 1})
        its.message(t="r", o=2)
        assert asked(its, "pin.lamp", on=1)["v"] == {"lamp": 1}
        its.until(lambda: [each for each in its.messages if each["t"] == "r" and each["v"] == {"lamp": 1}])
        assert asked(its, "read")["v"] == {"light": 1.65, "led": 0, "lamp": 1}
        assert "there is no command" in asked(its, "fly")["why"]
        its.say({"t": "cfg", "v": {"interval_seconds": "often", "sensors": {"light": {"interval_seconds": 0.1}}}})
        its.line("configuration: interval_seconds")
        assert asked(its, "reset")["ok"]
        its.line("reset, fed")


def test_settings_that_are_wrong_are_said_and_can_be_mended_from_afar(tmp_path: Path) -> None:
    with board(tmp_path, '{"id": "Oven", "sensors": [{"kind": "adc", "pin": 3}], "led": 29') as its:
        its.line("settings.json is no JSON")
        assert not its.message(t="hello").get("id"), "nobody has named it"
        its.say({"t": "hi"})
        assert sorted(its.message(t="r")["v"]) == ["led", "temperature"]
        its.until(lambda: len([line for line in its.lines if "settings.json is no JSON" in line]) == 2)
        assert "no JSON" in asked(its, "settings")["v"]["problems"][0]
        assert asked(its, "settings", id="oven", **{"mqtt.host": "pi"})["ok"]
    assert json.loads((tmp_path / "settings.json").read_text()) == {"id": "oven", "mqtt": {"host": "pi"}}


def test_ctrl_c_leaves_a_repl_that_no_watchdog_ends(tmp_path: Path) -> None:
    with board(tmp_path, {}) as its:
        its.message(t="r")  # the first collection of memory is over
        its.write(b"\x03")
        said = its.line("stopped")
        assert str({0x40058000 + 0x3000: 1 << 30}) in said
        assert its.process.wait(10) == 0


def test_memory_is_left_in_one_piece(tmp_path: Path) -> None:
    """TLS wants 16 KB at once. What is loaded is compiled here, which scatters more than loading .mpy files does."""
    with board(tmp_path, {"sensors": [{"kind": "chip"}, {"kind": "bme280", "sda": 4, "scl": 5}]}) as its:
        its.message(t="r")
        its.say({"t": "cmd", "id": "1", "a": "memory"})
        blocks = re.search(r"max free sz: (\d+)", its.line("max free sz"))
        assert blocks and int(blocks[1]) * 32 > 40_000


def test_a_version_proves_itself_to_its_loader(tmp_path: Path) -> None:
    """Not before the agent has spoken; and not when no update could be taken after this one."""
    (tmp_path / "loader.py").write_text(LOADER)
    (tmp_path / "update.py").write_text(UPDATE)
    its = board(tmp_path, {"confirm_seconds": 1})
    its._environment = environment(tmp_path, APP, FOLDER)
    with its:
        assert its.message(t="hello")["bad"] == "0.9.0"
        its.message(t="r")
        assert "confirmed" not in its.lines
        its.say({"t": "hi"})
        its.line("confirmed")
        assert its.lines.count("RuntimeError: no oven") == 2, "at its start, and when somebody listens"
        assert asked(its, "update.end")["v"] == {"is_kept": True}, "what is in memory goes to flash before the restart"
        assert [each for each in (tmp_path / "kept").iterdir() if each.stat().st_size]
    (tmp_path / "update.py").write_text("import nothing")
    with its:
        its.line("ImportError")


def test_a_broker_that_cannot_be_used_leaves_the_line(tmp_path: Path) -> None:
    (tmp_path / "mqttlink.py").write_text("raise OSError(5, 'no radio')")
    its = board(tmp_path, {"mqtt": {"host": "pi"}})
    its._environment = environment(tmp_path, APP, FOLDER)
    with its:
        its.line("the serial line is used instead")
        its.message(t="hello")


def test_a_board_that_listens_by_mqtt_is_interrupted_whatever_was_said_to_its_port(tmp_path: Path) -> None:
    with board(tmp_path, {"mqtt": {"host": "127.0.0.1", "port": 1, "tls": False}}) as its:
        its.line("cannot reach the broker")
        its.write(b"x" * 4200 + b"\x03")  # a terminal holds 4,096
        its.line("stopped")
