import asyncio
import json
import os
import sys

import fakemachine

fakemachine.install()
import actions  # noqa: E402
import board  # noqa: E402
import commands  # noqa: E402
import config  # noqa: E402
from intervals import Intervals  # noqa: E402

FILE = "settings.json"


class Measured:
    def __init__(self):
        self.readings = []

    async def read(self):
        return {"temperature": 20}

    def note(self, values):
        self.readings.append(values)


class Rig:
    def __init__(self, **given):
        fakemachine.install()
        commands._known.clear()
        with open(FILE, "w") as file:
            file.write(json.dumps(given))
        self.settings, self.measured, self.resets = config.read("pico-1", FILE), Measured(), []
        self.intervals = Intervals(self.settings)
        outputs = {name: board.Output(**each) for name, each in self.settings.outputs.items()}
        self.switches = actions.Switches(board.led(self.settings["led"]), outputs)
        self.switches.register(self.measured.note)
        actions.register_measuring(self.measured, self.intervals)
        actions.register_reset(lambda: self.resets.append(1), seconds=0.01)
        actions.register_settings(self.settings, FILE)

    async def ask(self, action, args=None):
        """(ok, value, why)"""
        answers = []
        commands.do(action, args, lambda *answer: answers.append(answer))
        await until(lambda: answers)
        await asyncio.sleep(0)
        assert len(answers) == 1
        return answers[0]

    async def refused(self, action, args=None):
        ok, value, why = await self.ask(action, args)
        assert ok is False and value is None and why
        return why


async def until(is_so):
    for _ in range(2000):
        if is_so():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to that")


def test_what_hello_says():
    Rig(outputs={"lamp": 15})
    switches = [{"a": "led", "sw": "on", "v": "led"}, {"a": "pin.lamp", "sw": "on", "v": "lamp"}]
    assert [each for each in commands.acts() if isinstance(each, dict)] == switches
    assert [each for each in commands.acts() if isinstance(each, str)] == ["identify", "interval", "read", "reset", "settings"]
    commands.command("update.begin", listed=False)(lambda args: {})
    assert "update.begin" not in commands.acts()


async def test_switches_say_how_they_are():
    rig = Rig(outputs={"lamp": 15, "relay": {"pin": 16, "inverted": True}})
    assert fakemachine.outputs == {"LED": [0], 15: [0], 16: [1]}  # all are off at first
    assert await rig.ask("led", {"on": 1}) == (True, {"led": 1}, "")
    assert await rig.ask("pin.lamp", {"on": True}) == (True, {"lamp": 1}, "")
    assert await rig.ask("pin.relay", {"on": 1}) == (True, {"relay": 1}, "")
    assert await rig.ask("pin.lamp", {"on": 0}) == (True, {"lamp": 0}, "")
    assert fakemachine.outputs == {"LED": [0, 1], 15: [0, 1, 0], 16: [1, 0]}
    assert rig.measured.readings == [{"led": 1}, {"lamp": 1}, {"relay": 1}, {"lamp": 0}]
    assert rig.switches.states() == {"led": 1, "lamp": 0, "relay": 1}


async def test_bad_arguments_are_answered():
    rig = Rig()
    assert await rig.refused("led") == "on is missing"
    assert "x is not known" in await rig.refused("led", {"on": 1, "x": 2})
    for value in ("1", 2, None, [], {"on": 1}, -1, "on" * 1000):
        assert len(await rig.refused("led", {"on": value})) < 120
    assert "table" in await rig.refused("led", [1])
    assert "seconds" in await rig.refused("identify", {"seconds": 1000})
    for action in ("", "nothing", "__init__", None, 5, "x" * 5000, "led "):
        assert "there is no command" in await rig.refused(action)
    assert "led" in await rig.refused("nothing")
    assert fakemachine.outputs == {"LED": [0]}


async def test_identify_blinks_and_leaves_the_led_as_it_was():
    rig = Rig()
    await rig.ask("led", {"on": 1})
    assert await rig.ask("identify", {"seconds": 0.3}) == (True, {"seconds": 0.3}, "")
    await until(lambda: len(fakemachine.outputs["LED"]) == 6)
    assert fakemachine.outputs["LED"] == [0, 1, 1, 0, 1, 1] and rig.switches.states() == {"led": 1}


async def test_identify_is_one_at_a_time_however_often_it_is_asked_for():
    rig = Rig()
    await rig.ask("identify", {"seconds": 60})
    first = rig.switches._blinking
    await rig.ask("identify", {"seconds": 0.1})
    await until(lambda: first.done() and rig.switches._blinking.done())


async def test_read_interval_reset():
    rig = Rig(interval_seconds=20)
    assert await rig.ask("read") == (True, {"temperature": 20}, "")
    assert await rig.ask("interval") == (True, {"seconds": 20}, "")
    assert await rig.ask("interval", {"seconds": 2}) == (True, {"seconds": 2}, "")
    assert rig.intervals.of() == 2
    assert await rig.ask("interval", {"seconds": 0}) == (True, {"seconds": 20}, "")
    assert "0.1" in await rig.refused("interval", {"seconds": 0.01})
    assert await rig.ask("reset") == (True, {"seconds": 0.01}, "") and not rig.resets
    await until(lambda: rig.resets)


async def test_settings_are_shown_without_passwords():
    rig = Rig(id="oven", wifi={"ssid": "n", "password": "hunter2"}, color="red")
    ok, value, _ = await rig.ask("settings")
    assert ok and value["settings"]["wifi"] == {"ssid": "n", "password": "***"} and "hunter2" not in json.dumps(value)
    assert value["problems"] == ["color is not known"]
    assert await rig.ask("settings", {"show": "id"}) == (True, {"id": "oven"}, "")
    assert "hunter2" not in json.dumps(await rig.ask("settings", {"show": "wifi"}))
    assert "does not say led" in await rig.refused("settings", {"show": "led"})


async def test_settings_that_are_too_long_for_an_answer():
    rig = Rig(id="oven", sensors=[{"kind": "digital", "pin": each, "name": f"input_{each}"} for each in range(16)])
    assert "show=KEY, of id, sensors" in await rig.refused("settings")
    assert await rig.ask("settings", {"show": "id"}) == (True, {"id": "oven"}, "")


async def test_settings_are_checked_before_they_are_written():
    rig = Rig(id="oven", wifi={"ssid": "n", "password": "hunter2"}, color="red")
    before = config.load(FILE)
    for bad in (
        {"interval_seconds": 0},
        {"nonsense": 1},
        {"sensors": [{"kind": "x"}]},
        {"mqtt.port": 5},
        {"led": 99},
        {"id": "A"},
    ):
        assert await rig.refused("settings", bad)
        assert config.load(FILE) == before
    changes = {"interval_seconds": 3, "wifi.ssid": "other", "outputs": {"lamp": 15}}
    ok, value, _ = await rig.ask("settings", changes)
    assert ok and value == {"changed": ["interval_seconds", "outputs", "wifi.ssid"], "counts": "after a reset"}
    found = config.load(FILE)
    assert (
        found["wifi"] == {"ssid": "other", "password": "hunter2"} and found["color"] == "red" and found["outputs"] == {"lamp": 15}
    )
    assert await rig.ask("settings", {"wifi": None, "color": None})
    assert sorted(config.load(FILE)) == ["id", "interval_seconds", "outputs"]


async def test_a_damaged_file_can_be_replaced_by_command():
    rig = Rig()
    with open(FILE, "w") as file:
        file.write("{torn")
    assert (await rig.ask("settings", {"id": "oven"}))[0]
    assert config.load(FILE) == {"id": "oven"}


async def test_a_disk_that_is_full_is_an_answer():
    rig = Rig()
    os.mkdir(FILE + ".new")
    assert "21" in await rig.refused("settings", {"id": "oven"})
    os.rmdir(FILE + ".new")


async def test_a_command_that_breaks_or_hangs_is_answered():
    rig = Rig()
    commands.MAX_SECONDS = 0.01

    async def hangs(args):
        await asyncio.sleep(1000)

    async def breaks(args):
        raise OSError(5, "it is broken")

    def breaks_at_once(args):
        return {}["key"]

    for name, do in (("hangs", hangs), ("breaks", breaks), ("breaks_at_once", breaks_at_once)):
        commands.command(name)(do)
    assert "not done within" in await rig.refused("hangs")
    assert "it is broken" in await rig.refused("breaks")
    assert "KeyError" in await rig.refused("breaks_at_once")
    assert not commands._running


async def test_no_more_at_once_than_there_is_memory_for():
    rig = Rig()
    gate, answers = asyncio.Event(), []

    async def waits(args):
        await gate.wait()

    commands.command("waits")(waits)
    for _ in range(20):
        commands.do("waits", {}, lambda *answer: answers.append(answer))
    assert len(answers) == 16 and "ask again" in answers[0][2] and len(commands._running) == 4
    gate.set()
    await until(lambda: len(answers) == 20)
    assert (await rig.ask("read"))[0]


async def test_what_is_seldom_asked_for_is_loaded_then():
    rig = Rig()
    commands._later.clear()
    loaded = []
    commands.later("rare_module", "rare.status", loaded.append)
    assert "rare.status" in commands.acts() and "rare.begin" not in commands.acts()
    why = await rig.refused("rare.begin")
    assert "rare_module" in why
    with open("rare_module.py", "w") as file:
        file.write(
            'from commands import command\ncommand("rare.status")(lambda args: 1)\ncommand("rare.begin")(lambda args: 2)\n'
        )
    sys.path.insert(0, os.getcwd())
    assert await rig.ask("rare.begin") == (True, 2, "") and len(loaded) == 1
    assert await rig.ask("rare.status") == (True, 1, "")
    assert "there is no command" in await rig.refused("rare.other")


async def test_the_version_that_it_went_back_from_is_told_until_it_is_dismissed():
    class Loader:
        bad, found = "0.2.0", {"active": "a", "bad": "0.2.0"}

        def state(self):
            return dict(self.found)

        def write(self, found):
            self.found = found

    class Session:
        told = []
        tell_bad = told.append

    rig, loader = Rig(), Loader()
    assert actions.failed(loader) == "0.2.0"
    actions.register_dismiss(loader, Session)
    assert await rig.ask("dismiss") == (True, {"dismissed": "0.2.0"}, "") and Session.told == [""]
    assert loader.found == {"active": "a", "bad": "0.2.0", "dismissed": "0.2.0"}, "the loader knows what not to start"
    loader.bad = loader.found["bad"] = "0.3.0"
    assert actions.failed(loader) == "0.3.0", "another one is news"
