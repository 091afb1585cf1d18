"""A board's flash in a folder, what is in its slots, a machine that notes what is done to it, and a sender of updates."""

import binascii
import hashlib
import json
import os
import sys

import loader

DONE = {}  # the commands that update.py has registered, by name


class _Commands:
    @staticmethod
    def command(name, **more):
        def add(do):
            DONE[name] = do
            return do

        return add


def update_module():
    """firmware/app/update.py with a registry of its own."""
    sys.modules.setdefault("commands", _Commands)
    import update

    if not DONE:  # the firmware's own registry is there
        import commands

        DONE.update({name: commands.find(name) for name in ("update.begin",)})
    update.restart = lambda: None
    return update


class Reset(BaseException):
    """The board is reset: nothing that runs can catch it."""


class Machine:
    """Notes what is done to it in `did`."""

    def __init__(self):
        self.did = []
        self.mem32 = {}
        machine = self

        class WDT:
            def __init__(self, timeout):
                machine.did.append(("watchdog", timeout))

            def feed(self):
                machine.did.append("fed")

        class Timer:
            ONE_SHOT = 0

            def __init__(self, period, mode, callback):
                machine.did.append(("timer", period))
                machine.over = callback

            def deinit(self):
                machine.did.append("timer off")

        self.WDT, self.Timer = WDT, Timer

    def reset(self):
        self.did.append("reset")
        raise Reset


class Time:
    """Nobody waits. on_sleep: is called instead."""

    def sleep(self, seconds):
        self.on_sleep()

    def on_sleep(self):
        pass


def sha256(data):
    return binascii.hexlify(hashlib.sha256(data).digest()).decode()


def manifest(version, files):
    names = ",".join(['"%s":"%s"' % (name, sha256(files[name])) for name in sorted(files)])
    return ('{"version":"%s","files":{%s}}' % (version, names)).encode()


def put(path, data):
    folders = path.split("/")[:-1]
    for count in range(1, len(folders) + 1):
        folder = "/".join(folders[:count])
        if folder:
            try:
                os.mkdir(folder)
            except OSError:
                pass
    with open(path, "wb") as file:
        file.write(data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def fill(slot, version, files):
    """A whole slot."""
    for name in files:
        put("%s/%s/%s" % (loader.ROOT, slot, name), files[name])
    put("%s/%s/manifest.json" % (loader.ROOT, slot), manifest(version, files))


def freeze(files):
    """MicroPython's image has these, as far as anybody can ask it; returns their names."""
    loader.image = tuple(["%s %s" % (name, sha256(files[name])) for name in files])
    return list(files)


def say(**state):
    put(loader.ROOT + "/slot.json", json.dumps(state).encode())


_count = 0


def fresh():
    """Another flash, empty, and a machine that was just switched on."""
    global _count
    _count += 1
    loader.ROOT, loader.image = "flash%d" % _count, ()
    os.mkdir(loader.ROOT)
    return power_on()


def power_on():
    loader.running, loader.watchdog, loader._timer, loader.bad = None, None, None, ""
    loader.machine, loader.time = Machine(), Time()
    for name in ("app", "helper"):
        sys.modules.pop(name, None)
    sys.path[:] = [each for each in sys.path if not each.startswith("flash")]
    if sys.path[0] == ".frozen":  # as the loader has put it
        sys.path.pop(0)
    if sys.implementation.name == "cpython":
        import importlib

        importlib.invalidate_caches()
    return loader.machine


def told(which, **args):
    """What the board answers; "refused: ..." when it refuses."""
    try:
        return DONE["update." + which](args)
    except ValueError as error:
        return "refused: %s" % error


def begin(release, content, **other):
    args = {"version": release, "files": len(content), "bytes": sum([len(data) for data in content.values()])}
    args["sha256"] = sha256(manifest(release, content))
    args.update(other)
    return told("begin", **args)


def send(version, files, size=512):
    """A whole update, as a host sends it; how many bytes were sent. Raises ValueError when the board refuses."""
    sent = 0
    _ok(begin(version, files))
    for name in sorted(files):
        data = files[name]
        answer = _ok(told("file", name=name, bytes=len(data), sha256=sha256(data)))
        at = len(data) if answer.get("have") else answer["at"]
        while at < len(data):
            piece = data[at : at + size]
            at = _ok(told("data", at=at, d=binascii.b2a_base64(piece).decode().strip()))["at"]
            sent += len(piece)
    _ok(told("end", sha256=sha256(manifest(version, files))))
    return sent


def _ok(answer):
    if isinstance(answer, str):
        raise ValueError(answer)
    return answer
