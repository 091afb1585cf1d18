"""Connecting with TLS: to the right server, to one with the wrong certificate, and past somebody in between."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import EdgeError, Failed, Unreachable, UsageProblem
from edgeagent.link import Client, connect
from edgeagent.trust import certificates, creds
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.tls import explain
from tests.support.servers import PlainHub, until
from tests.support.tlshub import LATER, TlsHub

NO_TLS = "it offers no TLS, so nothing was said to it"


async def dial(url: str, authorities: Path | None = None, **more: Any) -> Client:
    return await connect(url, what="reach the hub", name="t", inbox_prefix="_INBOX.t", authorities=authorities, **more)


async def refusal(url: str, authorities: Path | None = None, **more: Any) -> EdgeError:
    with pytest.raises(EdgeError) as caught:
        await dial(url, authorities, **more)
    return caught.value


@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_with_the_hubs_authority(tmp_path: Path, scheme: str) -> None:
    async with TlsHub(tmp_path / "hub") as hub:
        client = await dial(hub.url(scheme), hub.authorities)
        await client.flush()
        await client.close()


async def test_whom_the_certificate_must_name_can_be_said(tmp_path: Path) -> None:
    async with TlsHub(tmp_path / "hub", names=("hub.example",)) as hub:
        await (await dial(hub.url("tls"), hub.authorities, server_name="hub.example")).close()
        assert (
            "its certificate is for another name" in (await refusal(hub.url("tls"), hub.authorities, server_name="x.example")).why
        )
        assert "its certificate is for another address" in (await refusal(hub.url("tls"), hub.authorities)).why


@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_another_authority_or_none(tmp_path: Path, scheme: str) -> None:
    other = TlsHub(tmp_path / "other")
    async with TlsHub(tmp_path / "hub") as hub:
        for authorities in (other.authorities, None):
            error = await refusal(hub.url(scheme), authorities)
            assert isinstance(error, Unreachable)
            assert "its certificate is not signed by an authority that is trusted here" in error.why
            assert error.why.startswith(hub.url(scheme)) and "Take the hub's authorities" in str(error)


async def test_a_certificate_that_expired(tmp_path: Path) -> None:
    async with TlsHub(tmp_path / "hub", ends=datetime.now(timezone.utc) - timedelta(days=1)) as hub:
        assert "its certificate has expired" in (await refusal(hub.url("tls"), hub.authorities)).why


@pytest.mark.parametrize(
    ("content", "error"), [(None, "there is no such file"), ("", "no certificates in PEM form"), ("x", "PEM form")]
)
async def test_authorities_that_are_none(tmp_path: Path, content: str | None, error: str) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    async with TlsHub(tmp_path / "hub") as hub:
        found = await refusal(hub.url("tls"), file)
    assert isinstance(found, Failed) and error in found.why and str(file) in found.what


async def test_a_server_without_tls(tmp_path: Path) -> None:
    async with PlainHub(tmp_path / "hub") as hub:
        url = hub.url.replace("nats://", "tls://")
        assert (await refusal(url)).why == f"{url}: {NO_TLS}"
        assert (await refusal(hub.url, TlsHub(tmp_path / "x").authorities)).why == f"{hub.url}: {NO_TLS}", "authorities mean TLS"
        await (await dial(hub.url)).close()


@asynccontextmanager
async def somebody_in_between(heard: list[bytes]) -> AsyncIterator[int]:
    """Greets as a hub without TLS would, to hear the login; the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = {
            "server_id": "N",
            "version": "2.15.1",
            "max_payload": 1048576,
            "headers": True,
            "auth_required": True,
            "nonce": "abc",
        }
        writer.write(f"INFO {json.dumps(info)}\r\n".encode())
        while data := await reader.read(4096):
            heard.append(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("with_authorities", [True, False])
async def test_nobody_in_between_talks_it_out_of_tls(tmp_path: Path, with_authorities: bool) -> None:
    heard: list[bytes] = []
    signed: list[str] = []

    def sign(nonce: str) -> bytes:
        signed.append(nonce)
        return b"signature"

    authorities = TlsHub(tmp_path / "hub").authorities if with_authorities else None
    scheme = "nats" if with_authorities else "tls"
    async with somebody_in_between(heard) as port:
        for login in ({"jwt": (lambda: b"jwt", sign)}, {"password": ("olga", "secret")}):
            error = await refusal(f"{scheme}://127.0.0.1:{port}", authorities, **login)
            assert NO_TLS in error.why
    assert heard == [] and signed == [], "it neither heard nor had anything signed"


async def test_without_that_rule_it_would_hear_the_login() -> None:
    heard: list[bytes] = []
    key = KeyPair.generate("user")
    async with somebody_in_between(heard) as port:
        login = creds.callbacks(creds.Credentials("a.b.c", key.seed))
        dialling = asyncio.ensure_future(dial(f"nats://127.0.0.1:{port}", jwt=login))
        await until(lambda: b"a.b.c" in b"".join(heard), "a connection without TLS signs in")
        dialling.cancel()
        await asyncio.gather(dialling, return_exceptions=True)


async def test_authorities_are_read_again_when_it_comes_back(tmp_path: Path) -> None:
    hub = TlsHub(tmp_path / "hub")
    async with hub:
        client = await dial(hub.url("tls"), hub.authorities)
    after = certificates.make_authority("the next CA", LATER)
    hub.use(certificates.make_server(after, hub.names, LATER))
    hub.authorities.write_bytes(after.certificate)
    async with hub:
        await until(lambda: client.is_connected and client.stats["reconnects"] == 1, "it comes back")
        await client.close()


async def test_it_does_not_come_back_to_an_impostor(tmp_path: Path) -> None:
    hub = TlsHub(tmp_path / "hub")
    async with hub:
        client = await dial(hub.url("tls"), hub.authorities)
    hub.use(certificates.make_server(certificates.make_authority("CA of hub", LATER), hub.names, LATER))
    async with hub:
        await until(lambda: hub.log.count("TLS handshake error") >= 2, "it tried twice")
        assert not client.is_connected and client.stats["reconnects"] == 0
        await client.close()


async def test_websocket_needs_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "aiohttp" else find(name, *more))
    error = await refusal("wss://127.0.0.1:1")
    assert isinstance(error, UsageProblem) and error.remedy == "`pip install 'edgeagent[operator]'`"


def test_only_tls_is_explained_as_tls() -> None:
    assert explain(OSError("no route"), "tls://x", "reach") is None


needs_aiohttp = pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="websocket needs aiohttp")


@needs_aiohttp
async def test_over_websocket(tmp_path: Path) -> None:
    other = TlsHub(tmp_path / "other")
    async with TlsHub(tmp_path / "hub") as hub:
        client = await dial(hub.url("wss"), hub.authorities)
        await client.flush()
        await client.close()
        for authorities in (other.authorities, None):
            assert "its certificate is not signed by an authority" in (await refusal(hub.url("wss"), authorities)).why
        assert "begin the address with wss://" in str(await refusal(hub.url("ws"), hub.authorities))
        plain = hub.url("wss").replace(str(hub.websocket_port), str(hub.port))
        assert "does not speak TLS as it should" in (await refusal(plain, hub.authorities)).why


@needs_aiohttp
async def test_a_websocket_of_another_name_or_none(tmp_path: Path) -> None:
    async with TlsHub(tmp_path / "hub", names=("hub.example",)) as hub:
        assert "its certificate is for another" in (await refusal(hub.url("wss"), hub.authorities)).why
    assert (await refusal(hub.url("wss"), hub.authorities)).why == f"nothing listens at {hub.url('wss')}"
