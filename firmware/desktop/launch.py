"""Starts the unix port of MicroPython as a board: ``micropython -i launch.py FOLDER boot.py main.py``, FOLDER being its flash.

What stands in for the board's own modules is loaded first: afterwards only the board's files can be seen. What makes a program believe
that it is on a board is in ``sys``, as a board's has it: the port's own can't be changed.
"""

import gc
import os
import sys
import time

import vfs

sys.path.append(__file__.rsplit("/", 1)[0])

import json

import boardfs
import image
import machine  # noqa: F401
import network
import rp2  # noqa: F401
import world


class _Implementation:
    """_mpy is the port's own: what it can load."""

    def __init__(self, real, about):
        self.name, self._mpy, self._build = real.name, real._mpy, about.get("build", "RPI_PICO_W")
        self.version = tuple(about.get("version", real.version[:3])) + ("",)
        self._machine = about.get("machine", "Raspberry Pi Pico W with RP2040")

    def __getitem__(self, at):
        return (self.name, self.version, self._machine, self._mpy)[at]


class _Sys:
    platform = "rp2"

    def __init__(self, real, about):
        self._real, self.implementation = real, _Implementation(real.implementation, about)

    def __getattr__(self, name):
        return getattr(self._real, name)


class _Time:
    """A clock that was set to ``seconds`` when the board started, and may be set again by machine.RTC; what counts up is the port's own."""

    def __init__(self, real, seconds):
        self._real, self._ahead = real, seconds - real.time()

    def __getattr__(self, name):
        return getattr(self._real, name)

    def time(self):
        return int(self._real.time() + self._ahead)

    def set(self, seconds):
        self._ahead = seconds - self._real.time()

    def gmtime(self, seconds=None):
        return self._real.gmtime(self.time() if seconds is None else seconds)

    localtime = gmtime


def _become_board(folder, about):
    vfs.umount("/")
    vfs.mount(boardfs.Flash(folder), "/")
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib"]
    image.freeze()
    sys.modules["sys"] = _Sys(sys, about)
    if "clock" in about:
        sys.modules["time"] = _Time(time, about["clock"])
    if "W" not in about.get("build", "RPI_PICO_W"):
        sys.modules.pop(network.__name__)
    return sys.modules["sys"]


def _run(name):
    try:
        with open(name) as file:
            text = file.read()
    except OSError:
        return
    try:
        exec(compile(text, name, "exec"), globals())
    except (Exception, KeyboardInterrupt) as error:
        gc.collect()  # see machine.py: Ctrl-C may leave the heap locked
        sys.print_exception(error)


_programs = sys.argv[2:]
_folder = sys.argv[1]
del sys.argv[1:]
sys = _become_board(_folder, json.loads(world.read("board.json") or "{}"))
for _each in _programs:
    _run("/" + _each)
