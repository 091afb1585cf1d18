"""aiohttp is loaded once a websocket is dialled, and by no command before. In processes of their own: it counts for a whole process."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from edgeagent.trust import websockets

needs_aiohttp = pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="websocket needs aiohttp")


def python(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done
    return done.stdout


MAIN = """
import sys
from edgeagent.cli import main
sys.argv[1:] = ["--version"]
try:
    main()
except SystemExit as ended:
    assert not ended.code
from edgeagent import link
"""


def test_the_command_line_loads_no_aiohttp_for_a_hub_without_websockets() -> None:
    assert python(MAIN + "print([name for name in sys.modules if name.startswith('aiohttp.')])").endswith("[]\n")


@needs_aiohttp
def test_the_first_websocket_loads_it() -> None:
    dial = """
import asyncio
async def dial():
    try:
        await link.connect("ws://127.0.0.1:1", what="reach it", name="x", inbox_prefix="_INBOX.x")
    except Exception as error:
        return type(error).__name__, error.why, "aiohttp.client" in sys.modules
print(asyncio.run(dial()))
"""
    said = python(MAIN + dial)
    assert said.endswith("('Unreachable', 'nothing listens at ws://127.0.0.1:1', True)\n"), said


@needs_aiohttp
def test_nothing_changes_for_a_program_that_has_it_already() -> None:
    script = "import aiohttp, sys; from edgeagent.trust import websockets as w; w.put_off(); print(sys.modules['aiohttp'] is aiohttp, w.load())"
    assert python(script) == "True True\n"


def test_without_it_there_are_no_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "aiohttp" else find(name, *more))
    monkeypatch.delitem(sys.modules, "aiohttp", raising=False)
    websockets.put_off()
    assert [websockets.load(), websockets.load()] == [False, False]
