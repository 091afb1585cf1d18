"""The part of MicroPython's ``machine`` that the firmware uses, for a board without hardware (the chip is an RP2040).

Inputs are keys of ``inputs.json``: ``pin14`` (0 or 1), ``adc26`` (0 to 65535), ``core_celsius``, ``bme280`` (see bmechip.py).
What an output becomes is a line of the file ``pins``: ``15 1``.
"""

import _thread
import gc
import os
import sys
import time

import bmechip
import world

try:
    from time import sleep_ms
except ImportError:  # CPython

    def sleep_ms(ms):
        time.sleep(ms / 1000)


PWRON_RESET, WDT_RESET = 1, 3
_IS_2350 = "RP2350" in world.read("board.json")
_CTRL = (0x400D8000 if _IS_2350 else 0x40058000) + 0x3000  # of the watchdog, where writing ones clears bits
_ENABLE = 1 << 30


def _end(word):
    """What never returns, and can't be caught: the supervisor kills the process."""
    world.tell(word)
    if not world.FOLDER:
        raise SystemExit(word)
    while True:
        sleep_ms(1000)


def reset():
    _end("reset")


def bootloader(timeout=None):
    _end("bootloader")


def soft_reset():
    _end("soft_reset")


def reset_cause():
    return WDT_RESET if os.getenv("EDGEAGENT_BOOT") == "watchdog" else PWRON_RESET


def unique_id():
    return bytes(int(_ID[at : at + 2], 16) for at in range(0, 16, 2))


_ID = os.getenv("EDGEAGENT_UNIQUE_ID") or "e6614103e7452f2a"


def freq(hz=None):
    return 125000000


def idle():
    sleep_ms(1)


class _Memory:
    """Registers: all that is known of them is how the watchdog is switched off."""

    def __getitem__(self, address):
        return 0

    def __setitem__(self, address, value):
        gc.collect()  # Ctrl-C may have come in the midst of a collection, as on no board: until another one the heap is locked
        if address == _CTRL and value & _ENABLE:
            world.tell("disarm")


mem32 = _Memory()


class Pin:
    IN, OUT, OPEN_DRAIN = 0, 1, 2
    PULL_UP, PULL_DOWN = 1, 2
    IRQ_FALLING, IRQ_RISING = 4, 8

    def __init__(self, id, mode=-1, pull=-1, value=None):
        if isinstance(id, int) and not 0 <= id <= 29:
            raise ValueError("invalid pin")
        if isinstance(id, str) and id != "LED":
            raise ValueError("unknown named pin")
        self.id, self.mode, self.pull, self._value = id, mode, pull, 0
        if value is not None:
            self.value(value)

    def init(self, mode=-1, pull=-1, value=None):
        self.mode, self.pull = mode, pull
        if value is not None:
            self.value(value)

    def value(self, to=None):
        if to is None:
            idle = self._value if self.mode == Pin.OUT else int(self.pull == Pin.PULL_UP)
            return idle if self.mode == Pin.OUT else int(world.value("pin%s" % self.id, idle))
        to = int(bool(to))
        world.add("pins", "%s %d\n" % (self.id, to))
        self._value = to

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    high, low = on, off

    def toggle(self):
        self.value(not self._value)

    def irq(self, handler=None, trigger=12, hard=False):
        self.handler = handler


class ADC:
    CORE_TEMP = 4

    def __init__(self, of):
        of = of.id if isinstance(of, Pin) else of
        if of not in (0, 1, 2, 3, 4, 26, 27, 28, 29):
            raise ValueError("Pin doesn't have ADC capabilities")
        self.channel = of if of == ADC.CORE_TEMP else of + 26 if of < 4 else of

    def read_u16(self):
        if self.channel == ADC.CORE_TEMP:
            volts = 0.706 - (world.value("core_celsius", 27.0) - 27) * 0.001721
            return int(volts / 3.3 * 65535)
        return int(world.value("adc%d" % self.channel, 0))


class I2C:
    """With a BME280 on it, if the inputs have one."""

    def __init__(self, id=-1, scl=None, sda=None, freq=400000, timeout=50000):
        self._chip = bmechip.Chip()

    def scan(self):
        return [self._chip.address] if self._chip.is_there() else []

    def readfrom_mem(self, address, register, count, addrsize=8):
        return self._chip.read(address, register, count)

    def readfrom_mem_into(self, address, register, buffer, addrsize=8):
        buffer[:] = self._chip.read(address, register, len(buffer))

    def writeto_mem(self, address, register, data, addrsize=8):
        self._chip.write(address, register, data)


SoftI2C = I2C


class WDT:
    """Its time is kept by the supervisor, for who hangs can't."""

    def __init__(self, id=0, timeout=5000):
        if not 1 <= timeout <= 8388:
            raise ValueError("timeout exceeds 8388")
        world.tell("watchdog %d" % timeout)

    def feed(self):
        world.tell("feed")


class RTC:
    """The clock, of which only a board that began at another time has one of its own: nobody sets this machine's."""

    def datetime(self, to):
        year, month, day, _, hour, minute, second, _ = to
        clock = sys.modules["time"]  # of the board, which came after this module
        if hasattr(clock, "set"):
            year, month = (year - 1, month + 12) if month < 3 else (year, month)
            days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day - 719469
            clock.set(days * 86400 + hour * 3600 + minute * 60 + second)


class Timer:
    """Calls back once, or again and again; in a thread, so a callback does little."""

    ONE_SHOT, PERIODIC = 0, 1

    def __init__(self, id=-1, **options):
        self._turn = 0
        if options:
            self.init(**options)

    def init(self, mode=PERIODIC, freq=-1, period=-1, callback=None):
        self._turn += 1
        wait = period if period >= 0 else int(1000 / freq)
        _thread.start_new_thread(self._run, (self._turn, mode, wait, callback))

    def deinit(self):
        self._turn += 1

    def _run(self, turn, mode, wait, callback):
        while True:
            sleep_ms(wait)
            if self._turn != turn:
                return
            callback(self)
            if mode == Timer.ONE_SHOT:
                return
