"""What the agent's process puts off is there when it is wanted after all. In processes of their own: it counts for a whole process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nats
import nats.aio.client
import pytest
from nats.js import api

from edgeagent.assembly import lean

LATE = {"typing_extensions", "importlib.metadata", "nats.js.api", "nats.js.client", "email", "aiohttp.client"}


def after(script: str) -> Any:
    """What ``script`` gives to ``say`` in a process that has begun as the agent does, and what it has loaded by then of ``LATE``."""
    begin = (
        "import json, sys\nfrom edgeagent.assembly import lean\nlean.load_libraries()\n"
        f"def say(*words): print(json.dumps([*words, sorted({LATE!r} & set(sys.modules))]))\n"
    )
    done = subprocess.run([sys.executable, "-c", begin + script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_libraries_are_there_and_no_more() -> None:
    script = "import msgspec, nats\nsay(nats.aio.client.__version__, msgspec.json.decode(b'[1]'))"
    assert after(script) == [nats.aio.client.__version__, [1], []]


def test_what_the_client_looks_at_in_answers_loads_nothing() -> None:
    script = """
import asyncio, nats
async def ask():
    client = nats.NATS()
    no_one = await client._process_headers(b"NATS/1.0 503\\r\\n\\r\\n")
    return no_one, await client._process_headers(b"NATS/1.0 404 No Messages\\r\\n\\r\\n"), client._is_control_message(b"", no_one)
say(*asyncio.run(ask()))
"""
    assert after(script) == [{"Status": "503"}, {"Status": "404", "Description": "No Messages"}, None, []]


@pytest.mark.parametrize("name", ["STATUS", "DESCRIPTION", "CONSUMER_STALLED"])
def test_the_names_of_headers_are_those_of_nats_py(name: str) -> None:
    known = getattr(lean.jetstream().api.Header, name)
    assert isinstance(known, str) and (known, known.value) == (api.Header[name], api.Header[name].value)


def test_the_client_wants_no_others() -> None:
    text = Path(str(nats.aio.client.__file__)).read_text()
    assert set(re.findall(r"nats\.js\.api\.(\w+\.\w+)", text)) == {f"Header.{name}" for name in lean.HEADERS}


def test_any_other_header_is_known_too() -> None:
    assert lean.jetstream().api.Header.MSG_ID == "Nats-Msg-Id"
    assert lean.jetstream().api.StreamConfig is api.StreamConfig


@pytest.mark.parametrize(
    "first",
    [
        "import nats\nnats.NATS().jetstream()",
        "from nats.js import JetStreamContext",
        "from nats.js.errors import NotFoundError",
        "import nats.js.api as api\napi.StreamConfig(name='x')",
        "from nats.js import api\napi.StreamConfig(name='x')",
    ],
    ids=["used", "package", "errors", "api", "api-from"],
)
def test_jetstream_is_whole_whoever_wants_it_first(first: str) -> None:
    script = f"""{first}
import nats.js.errors, nats.js.client
from nats.js import JetStreamContext, errors
say(isinstance(nats.NATS().jetstream(), JetStreamContext), nats.js.client.NotFoundError is errors.NotFoundError,
    nats.js.client.api.StreamConfig is nats.js.api.StreamConfig, nats.js is sys.modules["nats.js"], nats.js.api is sys.modules["nats.js.api"])
"""
    assert after(script)[:-1] == [True] * 5


def test_plugins_can_load_what_was_hidden() -> None:
    script = "import importlib.metadata, typing_extensions\nsay(importlib.metadata.version('nats-py'), typing_extensions.Any is not None)"
    assert after(script)[:2] == [nats.aio.client.__version__, True]


def test_what_is_loaded_already_stays() -> None:
    script = """
import subprocess
before = "import importlib.metadata, typing_extensions, nats.js, sys; from edgeagent.assembly import lean; lean.load_libraries();"
look = "print(sys.modules['typing_extensions'] is typing_extensions, sys.modules['nats.js'] is nats.js, hasattr(importlib, 'metadata'))"
say(subprocess.run([sys.executable, "-c", before + look], capture_output=True, text=True).stdout)
"""
    assert after(script)[0] == "True True True\n"


def test_free_memory_between_pieces_in_use_goes_back_to_the_kernel() -> None:
    script = """
import asyncio
from pathlib import Path
lean.STARTED_SECONDS = 0

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) >> 10

async def main():
    held = [bytes(8000) for _ in range(8000)]
    held = held[::50]
    before = resident()
    giving = asyncio.create_task(lean.keep_giving_back())
    while resident() > before - 30:
        await asyncio.sleep(0.01)
    giving.cancel()
    return len(held)
say(asyncio.run(main()))
"""
    assert after(script)[0] == 160
