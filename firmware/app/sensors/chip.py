"""The temperature of the board's own chip, in degrees Celsius: some degrees above that of the air, and good for changes."""

import board

from sensors import kind


@kind("chip", named="")
class Chip:
    def __init__(self):
        self._celsius = board.chip_celsius()

    def read(self):
        return {"temperature": round(self._celsius(), 2)}
