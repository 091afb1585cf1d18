"""The hardware: all that is done with it goes through here, and nothing else imports ``machine``."""

import sys
from binascii import hexlify

import machine

WATCHDOG_MS = 8388  # the most that an RP2040 has
_REFERENCE_VOLTS = 3.3
_PULLS = {"up": "PULL_UP", "down": "PULL_DOWN"}
_CAUSES = {"PWRON_RESET": "power or the reset pin", "WDT_RESET": "the watchdog, or a reset by program"}


def _machine():
    return getattr(sys.implementation, "_machine", "")


def has_radio():
    return " W" in _machine()


def hardware():
    """What this is, for people: at most 64 characters of ASCII."""
    version = ".".join(str(each) for each in sys.implementation.version[:3] if isinstance(each, int))
    name = "".join(each if " " <= each <= "~" else "?" for each in _machine())
    return f"{name[:40]}, {'MicroPython' if sys.implementation.name == 'micropython' else sys.implementation.name} {version}"[:64]


def unique_id():
    """In hex: it is the USB serial number too."""
    return hexlify(machine.unique_id()).decode()


def _pin(number):
    if isinstance(number, int) and has_radio() and number in (23, 24, 25, 29):
        raise ValueError(f"pin {number} belongs to the radio of this board")
    return number


class Output:
    """A pin that switches something; off at first."""

    def __init__(self, pin, inverted=False):
        self._inverted = inverted
        self.is_on = False
        self._pin = machine.Pin(_pin(pin), machine.Pin.OUT, value=int(inverted))

    def switch(self, on):
        self.is_on = bool(on)
        self.show(self.is_on)

    def show(self, on):
        """For a moment, whatever it is switched to."""
        self._pin.value(int(bool(on) != self._inverted))


class NoOutput:
    """Of a board without a LED."""

    is_on = False

    def switch(self, on):
        self.is_on = bool(on)

    def show(self, on):
        pass


def led(name):
    """The LED with that name or on that pin; None: there is none."""
    if name is None:
        return NoOutput()
    try:
        return Output(name)
    except ValueError:
        if name == "LED":  # a board whose firmware has no such name
            return Output(25)
        raise


def digital(pin, pull=None):
    """A function that gives 0 or 1."""
    mode = getattr(machine.Pin, _PULLS[pull]) if pull else None
    return machine.Pin(_pin(pin), machine.Pin.IN, mode).value


def volts(pin, samples=16):
    """A function that gives the mean of some samples, in volts."""
    return _mean(machine.ADC(machine.Pin(_pin(pin))), samples)


def chip_celsius():
    """A function that gives the temperature of the chip (RP2040 datasheet, section 4.9.5)."""
    read = _mean(machine.ADC(machine.ADC.CORE_TEMP), 16)
    return lambda: 27 - (read() - 0.706) / 0.001721


def _mean(adc, samples):
    return lambda: sum(adc.read_u16() for _ in range(samples)) / samples * _REFERENCE_VOLTS / 65535


def i2c(sda, scl, hertz=100_000):
    """The bus at these pins. ValueError: they are no pair."""
    if sda % 2 or scl % 4 != sda % 4 + 1:
        raise ValueError(f"pins {sda} and {scl} are no SDA and SCL of one I2C bus: take GP4 and GP5, or GP6 and GP7, and so on")
    return machine.I2C(sda // 2 % 2, sda=machine.Pin(_pin(sda)), scl=machine.Pin(_pin(scl)), freq=hertz)


def reset():
    machine.reset()


def reset_cause():
    """Why the board started, in words."""
    cause = machine.reset_cause()
    for name, words in _CAUSES.items():
        if getattr(machine, name, None) == cause:
            return words
    return f"cause {cause}"


def arm():
    """The watchdog: from now on it resets the board when it is not fed for 8.4 s."""
    return machine.WDT(timeout=WATCHDOG_MS)


def disarm():
    """Clears ENABLE of the watchdog's CTRL, for which there is no function: who works at the REPL does not feed it."""
    base = 0x400D8000 if "RP2350" in _machine() else 0x40058000
    machine.mem32[base + 0x3000] = 1 << 30
