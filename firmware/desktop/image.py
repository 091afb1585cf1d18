"""What is frozen in a virtual board's MicroPython: the modules in the folder ``image`` of its world, found wherever ``.frozen`` is looked into.
In truth nothing is frozen, so here they take memory. MicroPython only."""

import builtins
import sys

import boardfs
import vfs
import world

_AT = "/.image"


def freeze():
    """Once the board's flash is mounted; nothing without such a folder."""
    modules = boardfs.Flash("%s/image" % world.FOLDER)
    try:
        modules.stat("/")
    except OSError:
        return
    vfs.mount(modules, _AT)
    builtins.__import__ = _importer(builtins.__import__)


def _importer(real):
    def load(*asked):
        before = sys.path[:]
        sys.path[:] = [part for each in before for part in ((_AT, each) if each == ".frozen" else (each,))]
        try:
            return real(*asked)
        finally:
            sys.path[:] = before

    return load
