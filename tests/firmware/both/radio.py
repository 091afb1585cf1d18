"""A module network whose radio does what a test says."""


class Wlan:
    IF_STA, PM_NONE = 0, 16

    def __init__(self, network):
        self.network, self.wants = network, False

    def active(self, on):
        self.network.log.append("on" if on else "off")

    def config(self, pm):
        self.network.log.append("pm %d" % pm)

    def deinit(self):
        self.network.log.append("deinit")

    def connect(self, ssid, key=None):
        if self.network.breaks:
            raise OSError(5)
        self.network.log.append("connect %s %s" % (ssid, key))
        self.wants = True

    def disconnect(self):
        self.wants = False

    def isconnected(self):
        return self.wants and self.network.state == 3

    def status(self):
        return self.network.state

    def ifconfig(self):
        return "192.168.1.9", "255.255.255.0", "192.168.1.1", "192.168.1.1"


class Network:
    """state: of the radio; 3: connected, below 0: why not. breaks: it fails. log: what it was told."""

    STAT_WRONG_PASSWORD, STAT_NO_AP_FOUND, STAT_CONNECT_FAIL = -3, -2, -1

    def __init__(self, state=3):
        self.state, self.breaks, self.log = state, False, []
        made = Wlan(self)

        class WLAN(Wlan):
            def __new__(cls, interface):
                return made

        self.WLAN = WLAN

    def country(self, code):
        self.log.append("country " + code)

    def hostname(self, name):
        self.log.append("hostname " + name)
