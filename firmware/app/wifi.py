"""The keeper of the Wi-Fi: it connects, says in words what is wrong, tries again, and starts the radio anew when nothing helps."""

import asyncio

from backoff import Backoff
from ticks import ticks_diff, ticks_ms

#: How long one try may take until there is an address, in milliseconds.
TRY_MS = 20000
#: After so many tries in vain the radio is started anew; after so many the whole board, about every hour.
RADIO_AFTER, BOARD_AFTER = 5, 60
_LOOK_SECONDS = 0.25


class Wifi:
    """settings: ssid; password, country, if there is one. hostname: what it calls itself in the network.

    say(text): what is wrong, once each time it changes. reset(): start the board anew. network: the module; tests have their own.
    """

    def __init__(self, settings, hostname, say, reset, network=None):
        self._settings, self._hostname, self._say, self._reset = settings, hostname, say, reset
        self._network, self._wlan = network, None
        self._failures, self._told, self._is_doubted = 0, "", False
        self.looked = ticks_ms()
        self.problem = ""

    @property
    def is_up(self):
        return self._wlan is not None and not self._is_doubted and self._wlan.isconnected()

    @property
    def dns(self):
        """The address of the name server; empty: none."""
        return self._wlan.ifconfig()[3] if self.is_up else ""

    def doubt(self):
        """It says that it is connected, and nothing comes through: connect anew."""
        self._is_doubted = True

    async def run(self):
        pauses, good_seconds, is_first = Backoff(1, 60), 0, True
        while True:
            self.looked = ticks_ms()
            if self.is_up:
                good_seconds += _LOOK_SECONDS
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                if not is_first:
                    await self._pause(pauses.next(good_seconds))
                good_seconds, is_first = 0, False
                await self._try()

    async def _try(self):
        why = await self._connect()
        if not why:
            self._failures, self.problem = 0, ""
            self._tell("Wi-Fi: connected to %s" % self._settings["ssid"])
            return
        self._failures += 1
        self.problem = "cannot connect to the Wi-Fi %s: %s" % (self._settings["ssid"], why)
        self._tell(self.problem)
        if self._failures % BOARD_AFTER == 0:
            self._say("%d tries were in vain: the board starts anew" % self._failures)
            self._reset()
        elif self._failures % RADIO_AFTER == 0:
            self._stop()

    async def _connect(self):
        """What is wrong; empty: nothing is."""
        try:
            self._start()
            self._wlan.disconnect()
            arguments = [self._settings["ssid"]] + ([self._settings["password"]] if self._settings.get("password") else [])
            self._wlan.connect(*arguments)
            return await self._until_connected()
        except (ImportError, AttributeError):  # a network without WLAN is that of another board
            return "this board has none, or not the firmware for it; flash MicroPython for the Pico W"
        except (OSError, ValueError, TypeError) as error:
            self._stop()
            return "the radio failed (%s)" % error

    async def _until_connected(self):
        since, status = ticks_ms(), 0
        while ticks_diff(ticks_ms(), since) < TRY_MS:
            self.looked = ticks_ms()
            if self._wlan.isconnected():
                self._is_doubted = False
                return ""
            status = self._wlan.status()
            if status < 0:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        return self._words(status)

    def _words(self, status):
        network = self._network
        words = {
            getattr(network, "STAT_WRONG_PASSWORD", -3): "wrong password",
            getattr(network, "STAT_NO_AP_FOUND", -2): "there is no such network here (a Pico W has 2.4 GHz only)",
            getattr(network, "STAT_CONNECT_FAIL", -1): "the access point refuses it, or is too far away",
            2: "it gives no address (DHCP)",
        }
        return words.get(status, "no answer within %d s" % (TRY_MS // 1000))

    def _start(self):
        if self._wlan is not None:
            return
        if self._network is None:
            self._network = self._import()
        if self._settings.get("country"):
            self._network.country(self._settings["country"])
        if hasattr(self._network, "hostname"):
            self._network.hostname(self._hostname[:32])
        wlan = self._network.WLAN(self._network.WLAN.IF_STA)
        wlan.active(True)
        wlan.config(pm=self._network.WLAN.PM_NONE)  # saving power, it answers late and loses its access point
        self._wlan = wlan

    @staticmethod
    def _import():
        import network

        return network

    def _stop(self):
        wlan, self._wlan = self._wlan, None
        try:
            if wlan is not None:
                wlan.active(False)
                if hasattr(wlan, "deinit"):
                    wlan.deinit()  # the chip loads its own firmware anew
        except OSError:
            pass

    async def _pause(self, seconds):
        since = ticks_ms()
        while ticks_diff(ticks_ms(), since) < seconds * 1000:
            self.looked = ticks_ms()
            await asyncio.sleep(_LOOK_SECONDS)

    def _tell(self, text):
        if text != self._told:
            self._told = text
            self._say(text)
