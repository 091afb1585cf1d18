"""A leaf and its hub over TLS, websocket and an HTTP proxy, with real servers; and what an impostor gets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.leaf.linkfailures import explain
from edgeagent.link import Client, connect
from edgeagent.natsserver import ports
from tests.support.proxy import Proxy
from tests.support.servers import PlainHub, kill_leftovers, until
from tests.support.tlshub import TlsHub


@pytest.fixture(autouse=True)
def leave_nothing(tmp_path: Path) -> Iterator[None]:
    yield
    kill_leftovers(tmp_path)


@asynccontextmanager
async def leaf(folder: Path, url: str, **more: Any) -> AsyncIterator[Leaf]:
    chosen = LeafOptions(
        device_id="pi-1",
        server_name="pi-1-a1b2c3d4",
        folder=folder / "leaf",
        hub_urls=(url,),
        port=ports.pick(),
        reconnect_seconds=0.2,
        ping_seconds=1,
        start_seconds=30,
        **more,
    )
    started = Leaf(chosen)
    try:
        await started.start()
        yield started
    finally:
        await started.stop()


@asynccontextmanager
async def crossing(device: Leaf) -> AsyncIterator[list[bytes]]:
    """What arrives on the device of what a client of the hub's sends."""
    heard: list[bytes] = []

    async def hear(message: Any) -> None:
        heard.append(message.data)

    user, password = device.agent_login
    ours = await connect(device.url, what="reach the leaf", name="t", inbox_prefix="_INBOX.t", password=(user, password))
    await ours.subscribe("edge.news", cb=hear)
    try:
        yield heard
    finally:
        await ours.close()


async def client_of(hub: TlsHub) -> Client:
    return await connect(hub.url("tls"), what="reach the hub", name="t", inbox_prefix="_INBOX.t", authorities=hub.authorities)


async def arrives(far: Client, heard: list[bytes], word: bytes) -> None:
    async def sent() -> bool:
        await far.publish("edge.news", word)
        await far.flush()
        return word in heard

    await until(sent, f"{word!r} crosses the link")


async def links(hub: TlsHub, folder: Path, url: str, **more: Any) -> None:
    async with leaf(folder, url, tls_ca_file=hub.authorities, **more) as device, crossing(device) as heard:
        far = await client_of(hub)
        await arrives(far, heard, b"hello")
        await far.close()


@pytest.mark.parametrize("scheme", ["tls-leaf", "wss"])
async def test_it_links_to_a_hub_whose_authority_it_has(tmp_path: Path, scheme: str) -> None:
    async with TlsHub(tmp_path / "hub") as hub:
        await links(hub, tmp_path, hub.url(scheme))


async def quoted(device: Leaf) -> str:
    """Why it is not linked, once its log says so."""
    log = device.options.log_file
    await until(lambda: explain(log.read_text()) is not None, "its log says why")
    found = explain(log.read_text())
    assert found is not None
    return found.why


@pytest.mark.parametrize("scheme", ["tls-leaf", "wss"])
@pytest.mark.parametrize("trusts", ["another", "the system's"])
async def test_an_impostor_with_a_certificate_of_its_own_gets_nothing(tmp_path: Path, scheme: str, trusts: str) -> None:
    other = TlsHub(tmp_path / "other")
    async with TlsHub(tmp_path / "impostor") as impostor:
        authorities = other.authorities if trusts == "another" else None
        async with leaf(tmp_path, impostor.url(scheme), tls_ca_file=authorities) as device:
            assert await quoted(device) == "its certificate is not signed by an authority that is trusted here"
            assert "JetStream using domains" not in device.options.log_file.read_text()
        assert "JetStream using domains" not in impostor.log, "no leaf ever signed in"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_certificate_for_another_name(tmp_path: Path, host: str) -> None:
    async with (
        TlsHub(tmp_path / "hub", names=("hub.example",)) as hub,
        leaf(tmp_path, hub.url("tls-leaf", host), tls_ca_file=hub.authorities) as device,
    ):
        assert await quoted(device) == "its certificate is for another name or address"


async def test_a_certificate_with_nothing_but_the_hubs_name(tmp_path: Path) -> None:
    async with TlsHub(tmp_path / "hub", names=("localhost",)) as hub:
        await links_by_name(hub, tmp_path)


async def links_by_name(hub: TlsHub, folder: Path) -> None:
    async with (
        leaf(folder, hub.url("tls-leaf", "localhost"), tls_ca_file=hub.authorities) as device,
        crossing(device) as heard,
    ):
        far = await connect(
            hub.url("tls", "localhost"), what="reach", name="t", inbox_prefix="_INBOX.t", authorities=hub.authorities
        )
        await arrives(far, heard, b"hello")
        await far.close()


async def test_a_certificate_that_expired(tmp_path: Path) -> None:
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    async with (
        TlsHub(tmp_path / "hub", ends=yesterday) as hub,
        leaf(tmp_path, hub.url("tls-leaf"), tls_ca_file=hub.authorities) as device,
    ):
        assert await quoted(device) == "its certificate has expired, or is not valid yet"


async def test_a_hub_without_tls_is_not_spoken_to(tmp_path: Path) -> None:
    async with PlainHub(tmp_path / "hub") as hub, leaf(tmp_path, f"tls://127.0.0.1:{hub.leaf_port}") as device:
        assert await quoted(device) == "it does not speak TLS as expected"


@pytest.mark.parametrize("login", ["", "olga:pass w/ord"])
async def test_through_a_proxy_and_back_after_a_cut(tmp_path: Path, login: str) -> None:
    given = login.replace(" ", "%20").replace("/", "%2F")
    async with TlsHub(tmp_path / "hub") as hub, Proxy(login) as proxy:
        url = f"http://{given + '@' if given else ''}127.0.0.1:{proxy.port}"
        async with (
            leaf(tmp_path, hub.url("wss"), tls_ca_file=hub.authorities, proxy=url) as device,
            crossing(device) as heard,
        ):
            far = await client_of(hub)
            await arrives(far, heard, b"before")
            assert proxy.tunnels == 1 and set(proxy.targets) == {f"127.0.0.1:{hub.websocket_port}"}
            await proxy.cut()
            proxy.restore()
            await arrives(far, heard, b"after")
            await far.close()
        assert proxy.tunnels == 2 and not proxy.refused
        if login:
            assert "pass w/ord" not in device.options.log_file.read_text() and "pass" not in repr(device.options)


async def test_a_proxy_that_wants_a_login(tmp_path: Path) -> None:
    async with TlsHub(tmp_path / "hub") as hub, Proxy("olga:secret") as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        async with leaf(tmp_path, hub.url("wss"), tls_ca_file=hub.authorities, proxy=url) as device:
            assert await quoted(device) == "the proxy wants another user or password"
    assert proxy.refused and not proxy.tunnels
