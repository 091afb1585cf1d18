import asyncio

import wifi
from radio import Network
from scripted import until

wifi._LOOK_SECONDS = 0.01
SETTINGS = {"ssid": "lab", "password": "pw-of-lab", "country": "DE"}


class Kept:
    """A Wi-Fi that is kept, with short pauses: ``async with Kept(network) as kept``."""

    def __init__(self, network, settings=SETTINGS):
        self.said, self.resets, self.network = [], 0, network
        self.wifi = wifi.Wifi(settings, "oven", self.said.append, self._reset, network)
        self.wifi._pause = self._short

    def _reset(self):
        self.resets += 1
        self.network.state = 3

    async def _short(self, seconds):
        assert 0.5 <= seconds <= 60
        await asyncio.sleep(0.005)

    async def __aenter__(self):
        self._task = asyncio.create_task(self.wifi.run())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()

    async def says(self, words):
        await until(lambda: any(words in each for each in self.said))


async def test_it_connects_without_saving_power_and_in_its_country():
    async with Kept(Network()) as kept:
        await until(lambda: kept.wifi.is_up)
        assert kept.network.log == ["country DE", "hostname oven", "on", "pm 16", "connect lab pw-of-lab"]
        assert kept.wifi.dns == "192.168.1.1" and kept.wifi.problem == ""


async def test_a_network_without_a_password():
    async with Kept(Network(), {"ssid": "open"}) as kept:
        await until(lambda: kept.wifi.is_up)
        assert kept.network.log[-1] == "connect open None"


async def test_what_is_wrong_is_said_in_words_once_and_never_the_password():
    for state, words in ((-3, "wrong password"), (-2, "no such network"), (-1, "refuses")):
        async with Kept(Network(state)) as kept:
            await until(lambda kept=kept: kept.wifi._failures >= 2)
            assert len(kept.said) == 1 and words in kept.said[0] and kept.wifi.problem == kept.said[0]
            assert "pw-of-lab" not in kept.said[0] and kept.wifi.dns == "" and not kept.wifi.is_up
            kept.network.state = 3
            await kept.says("connected to lab")
            assert kept.wifi.problem == ""


async def test_one_that_gives_no_address_is_given_up_in_time():
    wifi.TRY_MS = 100
    async with Kept(Network(2)) as kept:
        await kept.says("no address (DHCP)")
    async with Kept(Network(1)) as kept:
        await kept.says("no answer")
    wifi.TRY_MS = 20000


async def test_a_network_that_goes_is_connected_to_again():
    async with Kept(Network()) as kept:
        await until(lambda: kept.wifi.is_up)
        kept.network.state = -2
        await kept.says("no such network")
        kept.network.state = 3
        await until(lambda: kept.wifi.is_up)


async def test_one_through_which_nothing_comes_is_connected_to_anew():
    async with Kept(Network()) as kept:
        await until(lambda: kept.wifi.is_up)
        kept.wifi.doubt()
        assert not kept.wifi.is_up
        await until(lambda: kept.wifi.is_up)
        assert kept.network.log.count("connect lab pw-of-lab") == 2


async def test_the_radio_is_started_anew_and_then_the_board():
    async with Kept(Network(-2)) as kept:
        await until(lambda: kept.resets)
        await until(lambda: kept.wifi.is_up)
        assert kept.network.log.count("connect lab pw-of-lab") == wifi.BOARD_AFTER
        assert kept.network.log.count("deinit") == wifi.BOARD_AFTER // wifi.RADIO_AFTER - 1


async def test_a_radio_that_fails_and_a_board_that_has_none():
    async with Kept(Network()) as kept:
        kept.network.breaks = True
        await kept.says("the radio failed")
        kept.network.breaks = False
        await until(lambda: kept.wifi.is_up)
    async with Kept(None) as kept:
        kept.wifi._import = nothing
        await kept.says("flash MicroPython for the Pico W")


def nothing():
    raise ImportError("no module named 'network'")


async def test_the_network_of_a_board_with_a_cable_is_no_wifi_and_ends_nothing():
    class Cable:
        pass

    async with Kept(Cable(), {"ssid": "lab"}) as kept:
        await kept.says("this board has none")
