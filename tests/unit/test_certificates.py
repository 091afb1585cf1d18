from __future__ import annotations

from datetime import datetime, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store

from edgeagent.hub.tls import START
from edgeagent.trust.certificates import Pair, fits, make_authority, make_server, read, read_all

ENDS = datetime(2040, 1, 1, tzinfo=timezone.utc)
NAMES = ("hub.example", "10.0.0.1", "::1")
AUTHORITY = make_authority("test CA", ENDS)
SERVER = make_server(AUTHORITY, NAMES, ENDS)


def verify(authority: Pair, server: Pair, name: str) -> None:
    store = Store([x509.load_pem_x509_certificate(authority.certificate)])
    policy = PolicyBuilder().store(store).time(datetime(2030, 1, 1))
    policy.build_server_verifier(x509.DNSName(name)).verify(x509.load_pem_x509_certificate(server.certificate), [])


def test_the_strictest_verifier_that_we_have_takes_it() -> None:
    verify(AUTHORITY, SERVER, "hub.example")


@pytest.mark.parametrize(("authority", "name"), [(make_authority("test CA", ENDS), "hub.example"), (AUTHORITY, "other.example")])
def test_and_refuses_another_authority_of_the_same_name_and_another_host(authority: Pair, name: str) -> None:
    with pytest.raises(x509.verification.VerificationError):
        verify(authority, SERVER, name)


def test_what_is_read_of_it() -> None:
    found = read(SERVER.certificate)
    assert (found.begins, found.ends, set(found.names)) == (START, ENDS, set(NAMES))
    assert found.issuer == "CN=test CA" and found.subject == "CN=hub.example"


@pytest.mark.parametrize("pair", [AUTHORITY, SERVER])
def test_a_pico_can_read_it(pair: Pair) -> None:
    key = x509.load_pem_x509_certificate(pair.certificate).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    assert read(pair.certificate).begins.year == 2020


def test_whether_a_key_fits() -> None:
    assert fits(SERVER.certificate, SERVER.key) and not fits(SERVER.certificate, AUTHORITY.key)


@pytest.mark.parametrize("key", [b"", b"no key", SERVER.certificate])
def test_what_is_no_key(key: bytes) -> None:
    with pytest.raises(ValueError):
        fits(SERVER.certificate, key)


@pytest.mark.parametrize("pem", [b"", b"no certificate", SERVER.key])
def test_what_is_no_certificate(pem: bytes) -> None:
    with pytest.raises(ValueError):
        read(pem)


def test_a_file_with_several() -> None:
    assert [one.subject for one in read_all(AUTHORITY.certificate + SERVER.certificate)] == ["CN=test CA", "CN=hub.example"]


def test_a_key_is_not_shown() -> None:
    assert "PRIVATE" not in repr(SERVER)
