"""What the agent's process puts off is there when it is wanted after all. In processes of their own: it counts for a whole process."""

from __future__ import annotations

import hashlib
import hmac
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

LATE = {
    "typing_extensions",
    "importlib.metadata",
    "nats.js.api",
    "nats.js.client",
    "email",
    "http.client",
    "aiohttp.client",
    "_ssl",
    "_hashlib",
}


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
    known = lean.HEADERS[name]
    assert isinstance(known, str) and (known, known.value) == (api.Header[name], api.Header[name].value)


def test_the_client_wants_no_others() -> None:
    text = Path(str(nats.aio.client.__file__)).read_text()
    assert set(re.findall(r"nats\.js\.api\.(\w+\.\w+)", text)) == {f"Header.{name}" for name in lean.HEADERS}


def test_any_other_header_is_known_too() -> None:
    script = "import sys\nheader = sys.modules['nats.js'].api.Header\nsay(header.MSG_ID, header.STATUS)"
    assert after(script)[:2] == ["Nats-Msg-Id", "Status"]


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


def test_asyncio_connects_without_openssl() -> None:
    script = """
import asyncio, hashlib, hmac, secrets, ssl

async def greet():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    reader, _ = await asyncio.open_connection(*server.sockets[0].getsockname())
    return (await reader.read()).decode()
say(asyncio.run(greet()), hashlib.sha256(b"it").hexdigest(), hmac.compare_digest("it", "it"), secrets.compare_digest("it", "is"))
"""
    assert after(script) == ["", hashlib.sha256(b"it").hexdigest(), True, False, []]


def test_asyncio_speaks_tls_once_it_is_wanted() -> None:
    script = """
import asyncio, ssl

async def speak():
    server = await asyncio.start_server(lambda reader, writer: writer.write(b"this is no TLS"), "127.0.0.1", 0)
    try:
        await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=True)
    except ssl.SSLError as error:
        return error.reason
say(asyncio.run(speak()), asyncio.sslproto.ssl is ssl, asyncio.base_events.ssl.SSLSocket is ssl.SSLSocket)
"""
    assert after(script) == ["WRONG_VERSION_NUMBER", True, True, ["_ssl"]]


def test_asyncio_still_refuses_a_socket_of_ssls() -> None:
    script = """
import asyncio, socket, ssl

async def receive(one):
    one.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_recv(one, 1)
    except TypeError as error:
        return str(error)
one = socket.socketpair()[0]
say(asyncio.run(receive(ssl.create_default_context().wrap_socket(one, server_side=False, server_hostname="it", do_handshake_on_connect=False))))
"""
    assert after(script) == ["Socket cannot be of type SSLSocket", ["_ssl"]]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("hashlib.new('sha256', b'it').hexdigest()", hashlib.new("sha256", b"it").hexdigest()),
        ("hashlib.md5(b'it').hexdigest()", hashlib.md5(b"it").hexdigest()),
        ("hashlib.scrypt(b'it', salt=b'it', n=2, r=1, p=1).hex()", hashlib.scrypt(b"it", salt=b"it", n=2, r=1, p=1).hex()),
        ("hmac.new(b'it', b'it', 'sha256').hexdigest()", hmac.new(b"it", b"it", "sha256").hexdigest()),
        ("hmac.digest(b'it', b'it', 'sha256').hex()", hmac.digest(b"it", b"it", "sha256").hex()),
    ],
    ids=["new", "md5", "scrypt", "hmac", "hmac-digest"],
)
def test_plugins_find_all_digests(wanted: str, found: str) -> None:
    assert after(f"import hashlib, hmac\nsay({wanted})") == [found, ["_hashlib"]]


@pytest.mark.parametrize(
    "first",
    [
        "import urllib.request\nRequest = urllib.request.Request",
        "from urllib.request import Request",
        "from urllib import request\nRequest = request.Request",
        "import sys, urllib.parse, urllib\nRequest = urllib.request.Request",
    ],
    ids=["module", "class", "from-package", "package"],
)
def test_plugins_can_ask_the_web(first: str) -> None:
    script = (
        f"{first}\nimport sys, urllib.request\nsay(Request('http://x/y').host, urllib.request is sys.modules['urllib.request'])"
    )
    assert after(script)[:2] == ["x", True]


def test_paho_finds_the_proxies_of_the_environment_when_it_asks() -> None:
    script = """
import os
os.environ["mqtt_proxy"] = "socks://proxy:1080"
from paho.mqtt import client
before = "http.client" in sys.modules
say(before, client.urllib.request.getproxies()["mqtt"])
"""
    assert after(script)[:2] == [False, "socks://proxy:1080"]
