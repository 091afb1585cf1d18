"""Weather for a board that stands on no table: a sensor of one's own, as a board has them in ``/lib``."""

import math

from sensors import kind
from ticks import ticks_ms


@kind("weather", named="")
class Weather:
    def read(self):
        warmth = 21 + 4 * math.sin(ticks_ms() / 60000)
        return {"temperature": round(warmth, 2), "humidity": round(0.6 - warmth / 200, 3)}
