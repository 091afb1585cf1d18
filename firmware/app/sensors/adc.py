"""An analogue input: volts, or what they stand for: ``volts * scale + offset``."""

import board
from checks import NEEDED, number, whole

from sensors import kind

_ANY = number(-1e9, 1e9)


@kind("adc", pin=(whole(26, 29), NEEDED), scale=(_ANY, 1), offset=(_ANY, 0))
class Adc:
    def __init__(self, pin, scale, offset):
        self._volts, self._scale, self._offset = board.volts(pin), scale, offset

    def read(self):
        return {"": round(self._volts() * self._scale + self._offset, 4)}
