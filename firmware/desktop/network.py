"""The part of MicroPython's ``network`` that the firmware uses. The radio is the file ``radio``: up, noap or badpw; sockets are the machine's.

What it does is in the file ``wifi``: ``connect SSID``, ``disconnect``, ``active 0``.
"""

import world

STA_IF, AP_IF = 0, 1
STAT_IDLE, STAT_CONNECTING, STAT_GOT_IP = 0, 1, 3
STAT_CONNECT_FAIL, STAT_NO_AP_FOUND, STAT_WRONG_PASSWORD = -1, -2, -3
_names = ["PicoW", "XX"]


def hostname(to=None):
    if to is None:
        return _names[0]
    _names[0] = to


def country(to=None):
    if to is None:
        return _names[1]
    _names[1] = to


class WLAN:
    IF_STA, IF_AP = 0, 1
    PM_NONE, PM_PERFORMANCE, PM_POWERSAVE = 0, 0xA11142, 0xA11C82

    def __init__(self, interface=0):
        self._is_active, self._wants = False, False

    def active(self, to=None):
        if to is None:
            return self._is_active
        self._is_active = bool(to)
        self._wants = self._wants and self._is_active
        world.add("wifi", "active %d\n" % self._is_active)

    def connect(self, ssid=None, key=None, **options):
        if not self._is_active:
            raise OSError(1)
        self._wants = True
        world.add("wifi", "connect %s\n" % ssid)

    def disconnect(self):
        self._wants = False
        world.add("wifi", "disconnect\n")

    def isconnected(self):
        return self._wants and self._radio() == "up"

    def status(self, parameter=None):
        if parameter == "rssi":
            return -55
        if not self._wants:
            return STAT_IDLE
        return {"up": STAT_GOT_IP, "noap": STAT_NO_AP_FOUND, "badpw": STAT_WRONG_PASSWORD}.get(self._radio(), STAT_CONNECTING)

    def _radio(self):
        return world.read("radio").strip() or "up"

    def ifconfig(self, to=None):
        if self.isconnected():
            return ("127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1")
        return ("0.0.0.0", "0.0.0.0", "0.0.0.0", "0.0.0.0")

    def ipconfig(self, key):
        return {"addr4": self.ifconfig()[:2], "gw4": self.ifconfig()[2]}.get(key)

    def config(self, *names, **values):
        return {"mac": b"\x28\xcd\xc1\0\0\1", "pm": WLAN.PM_PERFORMANCE, "ssid": ""}.get(names[0], 0) if names else None

    def scan(self):
        return [(b"workshop", b"\0\0\0\0\0\1", 6, -50, 5, False)] if self._radio() != "noap" else []
