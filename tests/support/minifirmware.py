"""A firmware small enough to be read at a glance, started by the real loader: it says hello, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeagent.firmware import source
from edgeagent.firmware.flash import Wanted
from edgeagent.firmware.release import SOURCE

__all__ = ["VERSION", "make", "wanted"]

VERSION = "9.9.1"
_FILES = {
    "app/app.py": """
import asyncio, binascii, json, sys
from sensors.zero import read
from version import VERSION

async def main(watchdog):
    while True:
        watchdog.feed()
        body = json.dumps({"t": "hello", "id": "mini", "fw": VERSION, "b": "1", "seq": 0, "o": 1, "x": read()}).encode()
        sys.stdout.buffer.write(b"\\x1e" + body + b"\\t%08x\\n" % (binascii.crc32(body) & 0xffffffff))
        await asyncio.sleep(0.05)
""",
    "app/sensors/__init__.py": "",
    "app/sensors/zero.py": "def read():\n    return 0\n",
}


def make(folder: Path, version: str = VERSION, **more: str) -> Path:
    """more: other files, or other texts; ``app_app`` is app/app.py."""
    named = {f"{name.replace('_', '/', 1)}.py": text for name, text in more.items()}
    for name, text in {**_FILES, "app/version.py": f'VERSION = "{version}"\n', **named}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def wanted(folder: Path, **more: Any) -> Wanted:
    """As it is, not compiled."""
    return Wanted({SOURCE: source.read(folder)}, source.read_root(folder), **more)
