"""Decides which of the two slots runs, and goes back from a version that never proves itself. No update replaces this file.

/slot.json: {"active": "a", "pending": "b", "tries": 0, "bad": "0.2.0", "crashes": 1}. A slot is whole when each file has the sha256 of its manifest;
one that is not there may be frozen in MicroPython's own image instead, from where it runs without taking memory.
"""

import binascii
import gc
import hashlib
import json
import os
import sys
import time

try:
    import machine
except ImportError:  # CPython
    machine = None

SLOTS = ("a", "b")
TRIES = 3
WATCHDOG_MS = 8388  # the longest that the RP2040 has
TRIAL_SECONDS = 300  # an app that runs and does not confirm in this time is a failed try
CRASH_CHARACTERS = 1000  # of a traceback, its end
PAUSE_SECONDS = 5  # between a crash and the reset: time for Ctrl-C, and for a host to read why
CRASHES = 5  # in a row, and a version that had proved itself gives way to the other one

ROOT = ""  # where the board's files are; tests have another
running = None  # the slot that runs
bad = ""  # the version that it went back from
image = None  # what is frozen in MicroPython's image, as lines "name sha256"; None: not looked at yet
watchdog = None
_timer = None


def main():
    """Runs the firmware. Comes back only by Ctrl-C, and then no watchdog disturbs the REPL."""
    try:
        error = None
        try:
            run(_picked())
        except Exception as failure:  # whatever it is, the next start may do better; at the prompt the board would stay for ever
            error = failure
        feed()
        _note(error)
        for pause in (PAUSE_SECONDS * 4 // 5, PAUSE_SECONDS // 5):  # said twice: after a reset a host needs a moment to be there
            _show(error)
            feed()
            time.sleep(pause)
        reset()
    except KeyboardInterrupt:
        disarm()
        print("edgeagent: stopped, and the watchdog is off. machine.reset() starts it again")


def _picked():
    """The slot to run, as soon as there is one."""
    while True:
        slot = pick()
        if slot is not None:
            return slot
        print("edgeagent: cannot start: neither slot /a nor /b is whole. `edgeagent firmware flash` puts the firmware back")
        time.sleep(PAUSE_SECONDS)


def run(slot):
    """Has the app of this slot run until it ends or fails. The board is reset then, and the next start counts as another try."""
    global running
    running = slot
    arm()
    sys.path[:0] = [ROOT + "/" + slot, ".frozen"] if image else [ROOT + "/" + slot]  # before what lies about in /
    import asyncio

    import app

    asyncio.run(app.main(watchdog))


def _note(error):
    """What the next start is to know."""
    try:
        if running:
            _count_crash(running)
        if error is not None:
            _keep(error)
    except Exception:
        pass  # no memory for that: the reset comes all the same


def _count_crash(slot):
    """Of a version that is not on trial; only where the other slot is whole and is not what was given up before: never to and fro."""
    found, other = state(), "b" if slot == "a" else "a"
    version = None if found.get("pending") else verify(other)
    if version is None or version == found.get("bad"):
        return
    crashes = found.get("crashes")
    found["crashes"] = crashes + 1 if isinstance(crashes, int) else 1
    if found["crashes"] >= CRASHES:
        found = {"active": other, "bad": version_of(slot)}
    _written(found)


def pick():
    """The slot to run, None when neither is whole. A try of what is pending is counted before it runs."""
    global bad
    found = state()
    before = dict(found)
    slot = _pending(found) or _whole(found)
    bad = found.get("bad", "")
    if slot is not None and found != before and not _written(found) and found.get("pending") == slot:
        found.pop("pending")  # a try that can't be counted would be tried for ever
        slot = _whole(found)
    gc.collect()
    return slot


def _pending(found):
    """The pending slot if it is to be tried; `found` is what slot.json shall say."""
    slot, tries = found.get("pending"), found.get("tries", 0)
    if slot not in SLOTS:
        return None
    if isinstance(tries, int) and tries < TRIES and verify(slot):
        found["tries"] = tries + 1
        return slot
    found.pop("pending")
    found.pop("tries", None)
    found["bad"] = version_of(slot)
    return None


def _whole(found):
    active = found.get("active")
    for slot in sorted(SLOTS, key=lambda slot: slot != active):
        if verify(slot):
            if slot != active:
                if active in SLOTS:
                    found["bad"] = version_of(active)
                found["active"] = slot
            return slot
    return None


def confirm():
    """The version that runs has proved itself. Raises OSError when that cannot be written."""
    global _timer
    found = state()
    if found.get("pending") == running:
        write({"active": running})
    elif found.pop("crashes", None) is not None:
        write(found)
    if _timer:
        _timer.deinit()
        _timer = None


def on_trial():
    """Whether the version that runs still has to prove itself."""
    return running is not None and state().get("pending") == running


def state():
    """What /slot.json says; {} when it is missing or damaged."""
    try:
        with open(ROOT + "/slot.json") as file:
            found = json.load(file)
        return found if isinstance(found, dict) else {}
    except Exception:  # OSError, ValueError; what is damaged may also be too much for the memory
        return {}


def write(found):
    """Makes this the state, whole or not at all. Raises OSError."""
    with open(ROOT + "/slot.new", "w") as file:
        file.write(json.dumps(found))
    os.rename(ROOT + "/slot.new", ROOT + "/slot.json")


def _written(found):
    try:
        write(found)
        return True
    except OSError as error:
        print("edgeagent: cannot write /slot.json:", error)
        return False


def verify(slot):
    """The version in the slot; None when a file is missing or is not what the manifest says."""
    try:
        manifest = _manifest(slot)
        files, version = manifest["files"], manifest["version"]
        is_app = "app.py" in files or "app.mpy" in files
        if not is_app or not isinstance(version, str):
            return None
        for name in files:
            if not _has(ROOT + "/" + slot + "/" + name, name, files[name]):
                return None
        return version
    except Exception:  # whatever a damaged file leads to: this slot is not to be run
        return None


def _has(path, name, sha256):
    """Whether this is what would be imported: a file in the slot goes before one in the image."""
    try:
        os.stat(path)
    except OSError:
        return in_image(name, sha256)
    return sha256_of(path) == sha256


def in_image(name, sha256):
    """Whether this file of a release is frozen in MicroPython's image."""
    global image
    if image is None:
        image = _image()
    return "%s %s" % (name, sha256) in image


def _image():
    """Asked of the image alone: no file in flash can speak for it."""
    path = sys.path[:]
    sys.path[:] = [".frozen"]
    try:
        from frozen_app import FILES

        return FILES
    except ImportError:  # MicroPython as it is downloaded
        return ()
    finally:
        sys.path[:] = path


def version_of(slot):
    """The version that the slot's manifest names, whole or not; "?" when it can't be read."""
    try:
        return str(_manifest(slot)["version"])[:32]
    except Exception:
        return "?"


def _manifest(slot):
    with open(ROOT + "/" + slot + "/manifest.json") as file:
        return json.load(file)


def sha256_of(path):
    """Of a file, in hex. Raises OSError."""
    digest, buffer = hashlib.sha256(), bytearray(512)
    view = memoryview(buffer)
    with open(path, "rb") as file:
        while True:
            count = file.readinto(buffer)
            if not count:
                return binascii.hexlify(digest.digest()).decode()
            digest.update(view[:count])


def arm():
    """From here on a hang ends in a reset. What is on trial also ends when it runs and does not confirm."""
    global watchdog, _timer
    if watchdog is None and hasattr(machine, "WDT") and _wants_watchdog():
        watchdog = machine.WDT(timeout=WATCHDOG_MS)
    if on_trial() and hasattr(machine, "Timer"):
        mode, period = machine.Timer.ONE_SHOT, TRIAL_SECONDS * 1000
        _timer = machine.Timer(period=period, mode=mode, callback=lambda timer: reset())


def _wants_watchdog():
    try:
        with open(ROOT + "/settings.json") as file:
            return json.load(file).get("watchdog", True) is not False
    except Exception:  # as in state()
        return True


def feed():
    if watchdog:
        watchdog.feed()


def disarm():
    """Stops what would reset the board while somebody copies files by the REPL. There is no call for it: the watchdog's ENABLE bit is cleared."""
    global _timer
    if _timer:
        _timer.deinit()
        _timer = None
    if hasattr(machine, "WDT"):
        is_2350 = "RP2350" in getattr(sys.implementation, "_machine", "")
        machine.mem32[(0x400D8000 if is_2350 else 0x40058000) + 0x3000] = 1 << 30


def reset():
    """Resets the board. Does not come back there."""
    machine.reset()


def crashed():
    """What ended the last start that failed: its version and the traceback; empty: nothing, or it was asked for before."""
    try:
        with open(ROOT + "/crash.txt") as file:
            found = file.read(2 * CRASH_CHARACTERS)
        os.remove(ROOT + "/crash.txt")
        return found
    except (OSError, ValueError):
        return ""


def _keep(error):
    """For whoever asks after the next start: now no port may be open, and there is no connection."""
    try:
        import io

        text = io.StringIO()
        _show(error, text)
        with open(ROOT + "/crash.txt", "w") as file:
            file.write("version %s ended with\n%s" % (version_of(running), text.getvalue()[-CRASH_CHARACTERS:]))
    except Exception:
        pass  # no memory, or no room: the reset has to come


def _show(error, file=sys.stdout):
    if error is None:
        print("edgeagent: the app has ended")
    elif hasattr(sys, "print_exception"):
        sys.print_exception(error, file)
    else:
        import traceback

        traceback.print_exception(error, file=file)
