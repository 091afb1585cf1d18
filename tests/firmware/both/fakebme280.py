"""A BME280 at register level, which measures only when it is told to, and the datasheet's formulas for floats (appendix 8.1)."""

import struct

# Of the example in the datasheet of the BMP280 (BST-BMP280-DS001, section 3.12), and of a usual BME280 for the humidity.
T = (27504, 26435, -1000)
P = (36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000)
H = (75, 370, 0, 313, 50, 30)
RAW_T, RAW_P = 519888, 415148


class Chip:
    def __init__(self, chip_id=0x60, h=H):
        self.registers = bytearray(256)
        self.registers[0xD0] = chip_id
        self.registers[0x88:0xA0] = struct.pack("<Hhh", *T) + struct.pack("<Hhhhhhhhh", *P)
        self.registers[0xA1] = h[0]
        split = (h[3] >> 4, (h[3] & 15) | (h[4] & 15) << 4, h[4] >> 4)
        self.registers[0xE1:0xE8] = struct.pack("<hBbBbb", h[1], h[2], *split, h[5])
        self.registers[0xF7:0xFF] = b"\x80\0\0\x80\0\0\x80\0"
        self.raw = (RAW_T, RAW_P, 30000)
        self.busy = 2  # so often it says that it is measuring
        self.humidity_is_on = False

    def get(self, register, count):
        if register == 0xF3:
            self.busy = max(0, self.busy - 1)
            return bytes([8 if self.busy else 0])
        return bytes(self.registers[register : register + count])

    def set(self, register, data):
        self.registers[register] = data[0]
        if register == 0xF4 and data[0] & 3 == 1:
            self._measure()

    def _measure(self):
        t, p, h = self.raw
        h = h if self.registers[0xF2] & 7 else 0x8000
        data = bytes((p >> 12, p >> 4 & 255, (p & 15) << 4, t >> 12, t >> 4 & 255, (t & 15) << 4, h >> 8, h & 255))
        self.registers[0xF7:0xFF] = data
        self.busy = 2


def by_floats(raw_t, raw_p, raw_h, h=H):
    """Degrees Celsius, Pa, and percent."""
    first = (raw_t / 16384.0 - T[0] / 1024.0) * T[1]
    second = (raw_t / 131072.0 - T[0] / 8192.0) ** 2 * T[2]
    fine = first + second
    return fine / 5120.0, _pascals(raw_p, fine), _percent(raw_h, fine, h)


def _pascals(raw, fine):
    first = fine / 2.0 - 64000.0
    second = first * first * P[5] / 32768.0 + first * P[4] * 2.0
    second = second / 4.0 + P[3] * 65536.0
    first = (P[2] * first * first / 524288.0 + P[1] * first) / 524288.0
    first = (1.0 + first / 32768.0) * P[0]
    pressure = (1048576.0 - raw - second / 4096.0) * 6250.0 / first
    return pressure + (P[8] * pressure * pressure / 2147483648.0 + pressure * P[7] / 32768.0 + P[6]) / 16.0


def _percent(raw, fine, h):
    value = fine - 76800.0
    wet = raw - (h[3] * 64.0 + h[4] / 16384.0 * value)
    warm = 1.0 + h[5] / 67108864.0 * value * (1.0 + h[2] / 67108864.0 * value)
    value = wet * (h[1] / 65536.0 * warm)
    return min(max(value * (1.0 - h[0] * value / 524288.0), 0.0), 100.0)
