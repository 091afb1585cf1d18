"""The part of MicroPython's ``rp2`` that the firmware uses."""

import network
import world


def country(to=None):
    return network.country(to)


def bootsel_button():
    """1 while the key ``bootsel`` of the inputs is."""
    return int(world.value("bootsel", 0))
