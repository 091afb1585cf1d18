"""The commands that every board has: its LED, its outputs, its sensors, its settings, and a reset."""

import asyncio
import json

import config
import settingstrial
from checks import NEEDED, flag, number, text
from commands import command

MAX_ANSWER = 700  # bytes of an answer that has to fit into a frame
_ON = {"on": (flag, NEEDED)}


class Switches:
    """The LED and the outputs, by the name of their values in the readings."""

    def __init__(self, led, outputs):
        self._led, self._all, self._blinking = led, {"led": led}, None
        self._all.update(outputs)

    def states(self):
        return {name: int(each.is_on) for name, each in self._all.items()}

    def register(self, note):
        """One command for each. note(values): takes a reading at once."""
        for name, each in self._all.items():
            called = name if name == "led" else f"pin.{name}"
            command(called, switch="on", value=name, takes=_ON)(self._switch(name, each, note))
        command("identify", takes={"seconds": (number(0.1, 60), 5)})(self._identify)

    def _switch(self, name, output, note):
        def do(args):
            output.switch(args["on"])
            note({name: int(output.is_on)})
            return {name: int(output.is_on)}

        return do

    def _identify(self, args):
        if self._blinking:  # one at a time, however often it is asked for
            self._blinking.cancel()
        self._blinking = asyncio.create_task(self._blink(args["seconds"]))
        return {"seconds": args["seconds"]}

    async def _blink(self, seconds):
        try:
            for at in range(int(seconds * 10)):
                self._led.show(not at % 2)
                await asyncio.sleep(0.1)
        finally:
            self._led.show(self._led.is_on)


def register_measuring(measuring, intervals):
    @command("read", takes={})
    async def read(args):
        return await measuring.read()

    @command("interval", takes={"seconds": (number(0, 86400), None)})
    def interval(args):
        """Until the next reset; 0: as the settings and the configuration have it."""
        if args["seconds"] is not None:
            intervals.ordered = config.interval(args["seconds"]) if args["seconds"] else None
        return {"seconds": intervals.of()}


def register_reset(restart, seconds=1):
    @command("reset", takes={})
    def reset(args):
        asyncio.create_task(_later(seconds, restart))
        return {"seconds": seconds}


def register_dismiss(loader, session):
    """The loader goes on to know the version that it went back from, which it never starts again by itself; it is no longer told of."""

    @command("dismiss", takes={}, listed=False)
    def dismiss(args):
        found = loader.state()
        found["dismissed"] = found.get("bad", "")
        loader.write(found)
        session.tell_bad(failed(loader))
        return {"dismissed": found["dismissed"]}


def failed(loader):
    """The version that it went back from; empty: there is none, or it was dismissed."""
    return "" if loader.bad == loader.state().get("dismissed") else loader.bad


async def _later(seconds, do):
    await asyncio.sleep(seconds)  # for the answer to get out
    do()


def register_settings(settings, path=None):
    @command("settings")
    def change(args):
        """Without arguments: what settings.json says, without passwords; show: one key of it. With others: sets them, from the next start on."""
        given = _given(path)
        if not args or list(args) == ["show"]:
            return _shown(given, settings, text(40)(args["show"]) if args else None)
        new = config.changed(given, args)
        _check(given, new)
        is_on_trial = settingstrial.begin(given, new, path)
        config.save(new, path)
        answer = {"changed": sorted(args), "counts": "after a reset"}
        if is_on_trial:
            answer["back"] = f"{settingstrial.SECONDS} s after it, if no agent is heard"
        return answer


def _given(path):
    try:
        return config.load(path)
    except ValueError:  # it is damaged, which the problems say
        return {}


def _check(given, new):
    """What was wrong before may stay so; raises ValueError for what would be new."""
    before = config.Settings(given).problems
    problems = [each for each in config.Settings(new).problems if each not in before]
    if problems:
        raise ValueError("; ".join(problems))


def _shown(given, settings, key):
    if key is not None and key not in given:
        raise ValueError(f"settings.json does not say {key}")
    given = config.without_secrets({key: given[key]} if key else given)
    found = given if key else {"settings": given, "problems": settings.problems}
    if len(json.dumps(found)) > MAX_ANSWER:
        keys = ", ".join(sorted(given))
        raise ValueError(f"that is more than an answer holds: ask for one key with show=KEY, of {keys}")
    return found
