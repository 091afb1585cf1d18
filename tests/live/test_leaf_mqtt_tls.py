"""TLS on the leaf's own MQTT: whom microcontrollers can trust, and certificates that change while it runs."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.leaf.mqtttls import OwnTls
from edgeagent.mqttsettings import MqttSettings
from edgeagent.natsserver import ports
from edgeagent.trust.certificates import make_authority, make_server
from tests.support.mqtting import Peer, as_mcu, give, peer
from tests.support.servers import until

LATER = datetime.now(timezone.utc) + timedelta(days=300)


def made(folder: Path, **mqtt: object) -> Leaf:
    wanted = MqttSettings(listen="0.0.0.0", port=ports.pick(), **mqtt)  # type: ignore[arg-type]  # passed on as they are
    options = LeafOptions(device_id="pi-01", server_name="pi-01-x", folder=folder / "state", port=ports.pick(), mqtt=wanted)
    options.folder.mkdir(mode=0o700)
    return Leaf(options)


@pytest_asyncio.fixture
async def leaf(tmp_path: Path) -> AsyncIterator[Leaf]:
    leaf = made(tmp_path, tls="self")
    await leaf.start()
    await give(leaf, "m1")
    yield leaf
    await leaf.stop()


def ca_of(leaf: Leaf) -> Path:
    return OwnTls(leaf.options.folder).ca


def served(leaf: Leaf) -> str:
    """The certificate that the listener shows."""
    return ssl.get_server_certificate(("127.0.0.1", as_mcu(leaf, "m1").port))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_whoever_trusts_the_devices_authority_comes_in(leaf: Leaf, host: str) -> None:
    async with peer(as_mcu(leaf, "m1")._replace(ca=ca_of(leaf), host=host), "m1") as m1:
        assert m1.refused == ""
    now = leaf.mqtt.status()
    assert now and now.tls


async def test_whoever_trusts_another_does_not_go_on(leaf: Leaf, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(make_authority("other", LATER).certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        Peer(as_mcu(leaf, "m1")._replace(ca=other), "m1", clean=True)


async def test_without_tls_there_is_no_way_in(leaf: Leaf) -> None:
    plain = Peer(as_mcu(leaf, "m1"), "m1", clean=True)
    await until(lambda: bool(plain.ends), "it is cut off")
    plain.close()
    assert plain.refused is None


async def test_a_certificate_that_is_due_is_replaced_and_who_is_connected_stays(leaf: Leaf) -> None:
    pid, before = leaf.pid, served(leaf)
    async with peer(as_mcu(leaf, "m1")._replace(ca=ca_of(leaf)), "m1") as m1:
        OwnTls(leaf.options.folder).ensure(["later.example"])
        await leaf.apply()
        await until(lambda: served(leaf) != before, "the new one is shown")
        await m1.sent("mcu/m1/metric", "1")
        assert m1.ends == [] and leaf.pid == pid
    async with peer(as_mcu(leaf, "m1")._replace(ca=ca_of(leaf)), "m1") as again:
        assert again.refused == "", "by the same authority"


async def test_the_same_authority_and_certificate_after_a_restart(leaf: Leaf) -> None:
    ca, before = ca_of(leaf).read_bytes(), served(leaf)
    await leaf.restart()
    assert (ca_of(leaf).read_bytes(), served(leaf)) == (ca, before)


async def test_files_of_ones_own(tmp_path: Path) -> None:
    leaf = made(tmp_path, tls="files", certificate_file="cert.pem", key_file="../key.pem")
    authority = make_authority("my own", LATER)
    (tmp_path / "ca.pem").write_bytes(authority.certificate)

    def issue(key_of_another: bool = False) -> None:
        pair = make_server(authority, ["127.0.0.1"], LATER)
        (leaf.options.folder / "cert.pem").write_bytes(pair.certificate)
        (tmp_path / "key.pem").write_bytes(make_authority("x", LATER).key if key_of_another else pair.key)

    issue()
    await leaf.start()
    try:
        await give(leaf, "m1")
        before = served(leaf)
        async with peer(as_mcu(leaf, "m1")._replace(ca=tmp_path / "ca.pem"), "m1") as m1:
            issue()
            await leaf.apply()
            await until(lambda: served(leaf) != before, "the new one is shown")
            assert m1.refused == "" and m1.ends == []
        issue(key_of_another=True)
        await leaf.restart()
        assert leaf.mqtt.status() is None, "the leaf starts all the same"
        assert leaf.mqtt.problem and "is not the key of" in leaf.mqtt.problem.what
        issue()
        await leaf.apply()
        assert leaf.mqtt.problem is None and leaf.mqtt.status()
    finally:
        await leaf.stop()


async def test_files_that_are_not_there_keep_only_mqtt_out(tmp_path: Path) -> None:
    leaf = made(tmp_path, tls="files", certificate_file="cert.pem", key_file="key.pem")
    await leaf.start()
    try:
        await give(leaf, "m1")
        assert leaf.mqtt.problem and "cert.pem" in leaf.mqtt.problem.what
    finally:
        await leaf.stop()
