"""A BME280 as its registers show it (Bosch BST-BME280-DS002): calibration, mode, and raw values that say what ``inputs.json`` has.

``{"bme280": {"celsius": 21.5, "humidity": 40.0, "hpa": 1013.25, "address": 118}}``; without it nothing is on the bus.
"""

import struct

import world

_T = (27504, 26435, -1000)
_P = (36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000)
_H1, _H2, _H3, _H4, _H5, _H6 = 75, 362, 0, 313, 50, 30
_EIO = 5


def _fine(raw):
    part = (raw / 16384 - _T[0] / 1024) * _T[1]
    return part + (raw / 131072 - _T[0] / 8192) ** 2 * _T[2]


def _pascals(raw, fine):
    a = fine / 2 - 64000
    b = a * a * _P[5] / 32768 + a * _P[4] * 2
    b = b / 4 + _P[3] * 65536
    a = (_P[2] * a * a / 524288 + _P[1] * a) / 524288
    a = (1 + a / 32768) * _P[0]
    p = (1048576 - raw - b / 4096) * 6250 / a
    return p + (_P[8] * p * p / 2147483648 + p * _P[7] / 32768 + _P[6]) / 16


def _percent(raw, fine):
    h = fine - 76800
    h = (raw - (_H4 * 64 + _H5 / 16384 * h)) * (_H2 / 65536 * (1 + _H6 / 67108864 * h * (1 + _H3 / 67108864 * h)))
    return h * (1 - _H1 * h / 524288)


def _raw(function, wanted, bits):
    """For which raw value the function, which only rises, comes to ``wanted``."""
    low, high = 0, (1 << bits) - 1
    while low < high:
        middle = (low + high) // 2
        if function(middle) < wanted:
            low = middle + 1
        else:
            high = middle
    return low


class Chip:
    def __init__(self):
        self._written = {}

    @property
    def address(self):
        return (world.value("bme280") or {}).get("address", 0x76)

    def is_there(self):
        return world.value("bme280") is not None

    def read(self, address, register, count):
        self._check(address)
        memory = self._memory()
        return bytes(memory[register : register + count])

    def write(self, address, register, data):
        self._check(address)
        for at, byte in enumerate(data):
            self._written[register + at] = byte

    def _check(self, address):
        if not self.is_there() or address != self.address:
            raise OSError(_EIO)

    def _memory(self):
        memory = bytearray(256)
        memory[0xD0] = 0x60
        struct.pack_into("<H2hH8h", memory, 0x88, *_T, *_P)
        memory[0xA1] = _H1
        struct.pack_into("<hB", memory, 0xE1, _H2, _H3)
        memory[0xE4], memory[0xE5], memory[0xE6], memory[0xE7] = _H4 >> 4, _H4 & 15 | (_H5 & 15) << 4, _H5 >> 4, _H6
        for register, byte in self._written.items():
            if register in (0xF2, 0xF4, 0xF5):
                memory[register] = byte
        self._measure(memory)
        return memory

    def _measure(self, memory):
        """Skipped quantities have the value after a reset, as in the data sheet."""
        now = world.value("bme280") or {}
        t = _raw(lambda raw: _fine(raw) / 5120, now.get("celsius", 21.5), 20)
        fine = _fine(t)
        p = _raw(lambda raw: -_pascals(raw, fine), -100 * now.get("hpa", 1013.25), 20)
        h = _raw(lambda raw: _percent(raw, fine), now.get("humidity", 40.0), 16)
        mode = memory[0xF4]
        t, p = (t if mode & 0xE0 else 0x80000), (p if mode & 0x1C else 0x80000)
        h = h if memory[0xF2] & 7 else 0x8000
        if not mode & 3:
            return  # asleep, it has measured nothing; after a forced measurement it keeps what it has
        for at, raw in ((0xF7, p), (0xFA, t)):
            memory[at], memory[at + 1], memory[at + 2] = raw >> 12, raw >> 4 & 255, raw << 4 & 255
        memory[0xFD], memory[0xFE] = h >> 8, h & 255
