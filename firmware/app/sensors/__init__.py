"""The kinds of sensors. Each is a file here, or one of your own: ``/lib/sensor_<kind>.py`` on the board, which updates leave alone.

    @kind("adc", pin=(whole(26, 29), NEEDED))
    class Adc:
        def __init__(self, pin): ...            # opens it; it is made anew when it failed
        def read(self): return {"": 1.25}       # {quantity: value}, or a coroutine of that; "" is the sensor's name alone
        def changed(self, now): return False    # only where a change is a reading at once: asked every 10 ms

A kind is imported when the settings name it. ``named`` is what a sensor is called that the settings give no name.
"""

import os

from checks import word

KINDS = {}


class Kind:
    def __init__(self, make, options, named):
        self.make, self.options, self.named = make, options, named


def kind(name, named=None, **options):
    """Registers a class. options: {option: (check, default)}, as of ``checks.fields``."""

    def register(make):
        KINDS[name] = Kind(make, options, name if named is None else named)
        return make

    return register


def find(name):
    """The kind of that name. Raises ValueError: there is none."""
    why = ""
    for module in (f"sensors.{word(name)}", f"sensor_{name}"):
        if name not in KINDS:
            try:
                __import__(module)
            except ImportError as error:
                why = str(error)
    if name not in KINDS:
        raise ValueError(f"there is no kind of sensors {name} ({why}); there are {', '.join(names())}")
    return KINDS[name]


def names():
    """Of the kinds that come with the firmware, and those that are loaded."""
    files = os.listdir(__file__.rpartition("/")[0] or ".")
    return sorted({each.partition(".")[0] for each in files if not each.startswith("_")} | set(KINDS))
