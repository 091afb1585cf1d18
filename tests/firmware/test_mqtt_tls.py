"""Whom the board trusts: real certificates, right ones and wrong ones, in front of a real broker (of the device's own leaf: test_mqtt_story.py)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgeagent.natsserver import ports
from edgeagent.trust.certificates import Pair, make_authority, make_server
from tests.support import mosquitto, mqttboard
from tests.support.micropython import missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "it runs")

NOW = datetime.now(timezone.utc)
LATER, DAY = NOW + timedelta(days=300), timedelta(days=1)


class Served(NamedTuple):
    """Ports of one broker, by the certificate that is shown there, and the authority in DER form."""

    ports: dict[str, int]
    ca: str


def moved(authority: Pair, begins: datetime, ends: datetime) -> Pair:
    """A server's certificate for 127.0.0.1 that is good at another time."""
    right = make_server(authority, ["127.0.0.1"], LATER)
    found, parent = x509.load_pem_x509_certificate(right.certificate), x509.load_pem_x509_certificate(authority.certificate)
    builder = x509.CertificateBuilder().subject_name(found.subject).issuer_name(parent.subject).public_key(found.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)
    for each in found.extensions:
        builder = builder.add_extension(each.value, each.critical)
    key = serialization.load_pem_private_key(authority.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Pair(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), right.key)


def der(pem: bytes, path: Path) -> str:
    path.write_bytes(x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER))
    return str(path)


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    authority = make_authority("the device", LATER)
    pairs = {
        "right": make_server(authority, ["127.0.0.1"], LATER),
        "of another name": make_server(authority, ["pi-01"], LATER),
        "expired": moved(authority, NOW - 9 * DAY, NOW - DAY),
        "not yet valid": moved(authority, NOW + DAY, LATER),
        "of another authority": make_server(make_authority("another", LATER), ["127.0.0.1"], LATER),
        "of one of the same name": make_server(make_authority("the device", LATER), ["127.0.0.1"], LATER),
    }
    found, lines = {name: ports.pick() for name in pairs}, []
    for number, (name, pair) in enumerate(pairs.items()):
        (folder / f"{number}.pem").write_bytes(pair.certificate)
        (folder / f"{number}.key").write_bytes(pair.key)
        lines += [f"listener {found[name]} 127.0.0.1", f"certfile {folder}/{number}.pem", f"keyfile {folder}/{number}.key"]
    async with mosquitto.running(folder / "broker", "\n".join(lines)) as broker:
        yield Served({**found, "no TLS": broker.port}, der(authority.certificate, folder / "ca.der"))


WRONG = {
    "of another name": "for another name than 127.0.0.1",
    "expired": "has expired by this board's clock, which says 20",
    "not yet valid": "not valid yet by this board's clock, which says 20",
    "of another authority": "not by the authority that this board trusts",
    "of one of the same name": "not by the authority that this board trusts",
    "no TLS": "maybe it has no TLS there",
}


async def test_it_speaks_only_with_whom_its_authority_vouches_for(tmp_path: Path) -> None:
    async with served(tmp_path) as broker, contextlib.AsyncExitStack() as stack:

        async def board(name: str, **mqtt: object) -> mqttboard.MqttBoard:
            folder = tmp_path / (name if "server_name" not in mqtt else "named")
            return await stack.enter_async_context(mqttboard.running(folder, "oven", broker.ports[name], ca=broker.ca, **mqtt))

        right, named = await board("right"), await board("of another name", server_name="pi-01")
        wrong = {name: await board(name, password="secret", user="oven") for name in WRONG}
        for name, words in WRONG.items():
            await wrong[name].says(words)
        await right.is_up()
        await named.is_up()
        for name, each in wrong.items():
            await each.goes_on()
            assert not each.has_said("connected to the broker"), name


async def test_without_tls_a_broker_with_it_is_not_reached(tmp_path: Path) -> None:
    async with served(tmp_path) as broker, mqttboard.running(tmp_path / "board", "oven", broker.ports["right"]) as board:
        await board.says("maybe it wants TLS there")
        await board.goes_on()
