"""What is around a virtual board: files in the folder EDGEAGENT_WORLD, which stay where they are while the board has a file system of its own.

Without that variable it is in memory: ``files`` by name, and what the board told its supervisor in ``told``.
"""

import json
import os

try:
    from vfs import VfsPosix

    _open = VfsPosix().open  # of the machine, whatever is mounted
except ImportError:  # CPython
    _open = open

FOLDER = os.getenv("EDGEAGENT_WORLD")
files = {}
told = []


def read(name):
    """The text of a file, empty if there is none."""
    if not FOLDER:
        return files.get(name, "")
    try:
        with _open(FOLDER + "/" + name, "r") as file:
            return file.read()
    except OSError:
        return ""


def add(name, text):
    """To the end of a file."""
    if not FOLDER:
        files[name] = files.get(name, "") + text
        return
    with _open(FOLDER + "/" + name, "a") as file:
        file.write(text)


def value(key, default=None):
    """Of ``inputs.json``, as it is now; a file that is being written is read again."""
    for _ in range(50):
        text = read("inputs.json")
        try:
            return json.loads(text).get(key, default) if text else default
        except ValueError:
            continue
    return default


def tell(word):
    """The supervisor: ``reset``, ``bootloader``, ``watchdog 8388``, ``feed`` and the like."""
    if FOLDER:
        add("control", word + "\n")
    else:
        told.append(word)
