"""Bosch BME280 by I2C: temperature in degrees Celsius, humidity as a ratio (0 to 1), pressure in Pa. A BMP280 has no humidity.

Registers and formulas: datasheet BST-BME280-DS002. The formulas are those for integers, for floats have 23 bits here.
"""

import asyncio
import struct

import board
from checks import NEEDED, one_of, whole

from sensors import kind

_ID, _STATUS, _CTRL_HUM, _CTRL_MEAS, _CONFIG, _DATA = 0xD0, 0xF3, 0xF2, 0xF4, 0xF5, 0xF7
_BME280, _BMP280 = 0x60, 0x58
_FORCED = 1 << 5 | 1 << 2 | 1  # each of the three once, and then sleep
_PIN = (whole(0, 29), NEEDED)


@kind("bme280", sda=_PIN, scl=_PIN, address=(one_of(0x76, 0x77), None))
class Bme280:
    def __init__(self, sda, scl, address):
        self._bus = board.i2c(sda, scl)
        self._address, self._has_humidity = self._found((address,) if address else (0x76, 0x77))
        self._calibration = Calibration(self._get(0x88, 26), self._get(0xE1, 7))
        self._bus.writeto_mem(self._address, _CONFIG, b"\0")

    def _found(self, addresses):
        for address in addresses:
            try:
                chip = self._bus.readfrom_mem(address, _ID, 1)[0]
            except OSError:
                continue
            if chip in (_BME280, _BMP280):
                return address, chip == _BME280
            raise OSError(f"what answers at {address} is no BME280: its id is {chip}")
        raise OSError(f"nothing answers at {' or '.join(str(each) for each in addresses)}: are power, SDA and SCL right?")

    def _get(self, register, count):
        return self._bus.readfrom_mem(self._address, register, count)

    async def read(self):
        if self._has_humidity:
            self._bus.writeto_mem(self._address, _CTRL_HUM, b"\1")
        self._bus.writeto_mem(self._address, _CTRL_MEAS, bytes((_FORCED,)))
        await asyncio.sleep(0.01)
        for _ in range(20):
            if not self._get(_STATUS, 1)[0] & 0x08:
                return self._values(self._get(_DATA, 8))
            await asyncio.sleep(0.002)
        raise OSError("it does not end its measurement")

    def _values(self, data):
        raw_pressure = data[0] << 12 | data[1] << 4 | data[2] >> 4
        raw_temperature = data[3] << 12 | data[4] << 4 | data[5] >> 4
        if raw_temperature == 0x80000 or raw_pressure == 0x80000:
            raise OSError("it measured nothing")
        calibration = self._calibration
        fine = calibration.fine(raw_temperature)
        found = {"temperature": calibration.celsius(fine), "pressure": calibration.pascals(raw_pressure, fine)}
        if self._has_humidity:
            found["humidity"] = calibration.humidity(data[6] << 8 | data[7], fine)
        return found


class Calibration:
    """What is burnt into one sensor, and how to compute with it. low: the 26 bytes at 0x88; high: the 7 at 0xE1."""

    def __init__(self, low, high):
        self._t = struct.unpack_from("<Hhh", low, 0)
        self._p = struct.unpack_from("<Hhhhhhhhh", low, 6)
        h2, h3, e4, e5, e6, h6 = struct.unpack("<hBbBbb", high)
        self._h = (low[25], h2, h3, e4 << 4 | e5 & 15, e6 << 4 | e5 >> 4, h6)
        if self._t[0] in (0, 0xFFFF):
            raise OSError("its calibration can't be read")

    def fine(self, raw):
        """The temperature as the other formulas want it."""
        t1, t2, t3 = self._t
        first = ((raw >> 3) - (t1 << 1)) * t2 >> 11
        half = (raw >> 4) - t1
        return first + ((half * half >> 12) * t3 >> 14)

    def celsius(self, fine):
        return (fine * 5 + 128 >> 8) / 100

    def pascals(self, raw, fine):
        p1, p2, p3, p4, p5, p6, p7, p8, p9 = self._p
        first = fine - 128000
        second = first * first * p6 + (first * p5 << 17) + (p4 << 35)
        first = (first * first * p3 >> 8) + (first * p2 << 12)
        first = ((1 << 47) + first) * p1 >> 33
        if first <= 0:
            raise OSError("its calibration can't be used")
        pressure = ((1048576 - raw << 31) - second) * 3125 // first
        first = p9 * (pressure >> 13) * (pressure >> 13) >> 25
        return ((pressure + first + (p8 * pressure >> 19) >> 8) + (p7 << 4)) // 256

    def humidity(self, raw, fine):
        h1, h2, h3, h4, h5, h6 = self._h
        value = fine - 76800
        wet = (raw << 14) - (h4 << 20) - h5 * value + 16384 >> 15
        warm = ((value * h6 >> 10) * ((value * h3 >> 11) + 32768) >> 10) + 2097152
        value = wet * (warm * h2 + 8192 >> 14)
        value -= ((value >> 15) * (value >> 15) >> 7) * h1 >> 4
        return round(min(max(value, 0), 419430400) / 419430400, 4)
