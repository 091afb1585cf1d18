"""Settings that were changed from afar have to prove themselves: those before come back when the agent is not heard with the new ones.

/settings.json.old: {"before": settings, "crc": of the settings.json that is on trial}. With another settings.json it counts no more.
"""

import json
import os
from binascii import crc32

import config
import log
from ticks import ticks_diff

SECONDS = 600  # after the start, until the old ones come back
#: What can cut the board off.
_KEYS = ("id", "wifi", "mqtt", "ntp")


def begin(before, after, path=None):
    """Called before ``after`` is saved; whether it is on trial then. A board at a cable needs none: who is there can mend it."""
    kept = _kept(path or config.PATH)
    cuts = before.get("mqtt") and any(before.get(key) != after.get(key) for key in _KEYS)
    if kept is None and not cuts:
        return False
    config.save(
        {"before": before if kept is None else kept, "crc": crc32(json.dumps(after).encode())}, (path or config.PATH) + ".old"
    )
    return True


class SettingsTrial:
    """restart(): of the board. now: ticks, at its start."""

    def __init__(self, restart, now, path=None):
        self._restart, self._since, self._path = restart, now, path or config.PATH
        self._before = _kept(self._path)
        if self._before is None:
            _remove(self._path + ".old")

    def look(self, is_heard, now):
        """Called every few seconds."""
        if self._before is None:
            return
        if is_heard:
            self._before = None
            _remove(self._path + ".old")
        elif ticks_diff(now, self._since) >= SECONDS * 1000:
            self._go_back()

    def _go_back(self):
        before, self._before = self._before, None
        try:
            config.save(before, self._path)
        except OSError as error:
            log.failed("cannot bring the settings before back", error)
            return
        log.say(f"settings: with the new ones no agent was heard for {SECONDS} s, and those before are back")
        _remove(self._path + ".old")
        self._restart()


def _kept(path):
    """The settings before those that are on trial; None: none are."""
    try:
        with open(path, "rb") as file:
            crc = crc32(file.read(config.MAX_BYTES))
        found = config.load(path + ".old")
    except (OSError, ValueError, MemoryError):
        return None
    before = found.get("before")
    return before if found.get("crc") == crc and isinstance(before, dict) else None


def _remove(path):
    try:
        os.remove(path)
    except OSError:
        pass
