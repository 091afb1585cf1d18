"""Puts together what runs on the board."""

import asyncio
import gc

import actions
import board
import commands
import config
import log
from intervals import Intervals
from keeper import Keeper
from measuring import Measuring
from session import Session
from settingstrial import SettingsTrial
from store import Store
from ticks import ticks_ms
from trial import Trial
from version import VERSION


class Assembly:
    def __init__(self, watchdog):
        self.settings = settings = config.read(f"pico-{board.unique_id()}")
        self._crash = _crash()
        self._introduce()
        self.keeper = Keeper(watchdog.feed if watchdog else _nothing, self.restart)
        self.store = _store(settings["kept_readings"])
        self.intervals = Intervals(settings)
        self.switches = _switches(settings)
        self.measuring = Measuring(settings.sensors, self.intervals, self.store.put, self.switches.states)
        self._register()
        loader = _loader(self.store.save)
        self.clock, self.session, self._drain = None, self._session(), _nothing
        self._told = ""  # of what is wrong with the flash
        self.link = self._link()
        if loader:
            self.session.bad = actions.failed(loader)
            actions.register_dismiss(loader, self.session)
        self.settings_trial = SettingsTrial(self.restart, ticks_ms())
        self.trial = Trial(loader.confirm if loader else None, settings["confirm_seconds"])

    def _register(self):
        self.switches.register(self.measuring.note)
        actions.register_measuring(self.measuring, self.intervals)
        actions.register_reset(self.restart)
        actions.register_settings(self.settings)

    def _session(self):
        session = Session(self.settings.given_id, VERSION, board.hardware(), commands.acts(), self.store, ticks_ms())
        session.on_command = self._command
        session.on_config = self.intervals.configure
        return session

    def _command(self, command_id, action, args):
        commands.do(action, args, lambda ok, value, why: self.session.answer(command_id, ok, value, why))

    def _link(self):
        """By MQTT if the settings have a broker, else where the REPL is. What can't be built leaves the line to say so."""
        if self.settings["mqtt"]:
            try:
                return self._mqtt_link()
            except Exception as error:
                log.failed("cannot use MQTT, and the serial line is used instead", error)
        from usb import Usb

        return Usb(self._introduce)  # what is printed while no port is open is gone

    def _introduce(self):
        settings = self.settings
        log.say(f"edgeagent firmware {VERSION}, {settings['id']} on {board.hardware()}, started by {board.reset_cause()}")
        for each in settings.problems:
            log.say(f"settings: {each}")
        for each in self._crash:
            log.say(each)

    def _mqtt_link(self):
        from clock import Clock
        from mqttlink import MqttLink
        from usb import Unheard

        self.clock, wifi = Clock(), None
        if self.settings["wifi"]:
            from wifi import Wifi

            wifi = Wifi(self.settings["wifi"], self.settings["id"], log.say, self.restart)
        else:
            log.say("settings: there is mqtt, and no wifi to reach it by")
        link = MqttLink(self.settings.values, self.clock, wifi, log.show, self.restart)
        self._drain = Unheard().drain
        log.listen(link.say)
        self.session.on_time = self.clock.set
        return link

    async def run(self):
        self.keeper.start("measuring", self._measure)
        self.keeper.start(self.link.name, self._carry, 60)
        self.keeper.start("housekeeping", self._keep_house)
        await self.keeper.run()

    async def _measure(self):
        await self.measuring.run(lambda: self.keeper.beat("measuring"))

    async def _carry(self):
        await self.link.run(self.session, self.keeper)

    async def _keep_house(self):
        while True:
            self.keeper.beat("housekeeping")
            now = ticks_ms()
            self.store.spill(now)
            self._tell_of_flash()
            is_heard = self.link.is_up and self.session.answered
            self.trial.look(is_heard, now)
            self.settings_trial.look(is_heard, now)
            self._drain()
            gc.collect()  # often, so that there is a long piece of memory when TLS wants one
            await asyncio.sleep(1)

    def _tell_of_flash(self):
        if self.store.problem != self._told:
            self._told = self.store.problem
            log.say(self._told or "readings are kept in flash again")

    def restart(self):
        """Reset the board; what was not sent is kept."""
        try:
            self.store.save()
        finally:
            board.reset()


def _store(kept_readings):
    """In memory there is room for twice as much where nothing goes to flash."""
    if kept_readings:
        return Store(ticks_ms(), config.KEPT, kept_readings)
    return Store(ticks_ms(), ring_bytes=24 << 10)


def _switches(settings):
    outputs = {name: _output(name, **each) for name, each in settings.outputs.items()}
    return actions.Switches(_opened("the LED", lambda: board.led(settings["led"])), outputs)


def _output(name, pin, inverted):
    return _opened(f"output {name}", lambda: board.Output(pin, inverted))


def _opened(what, make):
    try:
        return make()
    except Exception as error:  # no such pin on this board: the others are to work
        log.say(f"{what} does not work: {log.reason(error)}")
        return board.NoOutput()


def _loader(save):
    """What started this, None for a program that runs without one. Where there is one there are updates, which are loaded when they are
    asked for; before a version is confirmed it has to show that it can.

    save(): readings in memory go to flash before an update restarts the board.
    """
    try:
        import loader
    except ImportError:
        return None

    def connect(update):
        update.before_restart = save

    commands.later("update", "update.status", connect)
    if loader.on_trial():
        commands.load("update")  # when it can't be loaded nothing is confirmed, so the loader goes back to what could be updated
    return loader


def _crash():
    """What ended the last start that failed, in lines; of a long traceback the end."""
    try:
        from loader import crashed
    except ImportError:
        return []
    found = crashed().strip()
    return found.split("\n")[-12:] if found else []


def _nothing():
    pass
