"""Makes and reads X.509 certificates. ECDSA P-256 throughout: the TLS of a Pico (mbedTLS) has no Ed25519."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeagent.errors import Failed
from edgeagent.trust.validity import START

__all__ = ["Certificate", "Pair", "fits", "make_authority", "make_server", "read", "read_all"]


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Pair(...)"  # the key must not reach a log


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What is to be known of a certificate. names: host names and addresses that it is good for. key: its public key, DER."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    begins: datetime
    ends: datetime
    key: bytes


def make_authority(name: str, ends: datetime) -> Pair:
    """A new certificate authority that signs itself. name: what it is called in lists, 64 characters at most (RFC 5280)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        _builder(subject, subject, key, ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


_BOTH_ENDS = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


def make_server(authority: Pair, names: Sequence[str], ends: datetime) -> Pair:
    """A new certificate for a server that is reached by any of ``names`` (host names and addresses), signed by ``authority``.

    It is good for a client too: the servers of a cluster show each other theirs.
    """
    parent, parent_key = x509.load_pem_x509_certificate(authority.certificate), _key(authority.key)
    if not isinstance(parent_key, ec.EllipticCurvePrivateKey):
        raise Failed(
            "sign a server's certificate", "the authority's key is no ECDSA key", "`edgeagent hub tls rotate --now` makes another"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_name(names[0][:64]), parent.subject, key, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(_BOTH_ENDS), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(parent_key.public_key()), critical=False)
    )
    return _pair(builder.sign(parent_key, hashes.SHA256()), key)


def read(pem: bytes) -> Certificate:
    """The first certificate of ``pem``. Raises ValueError when it holds none."""
    return read_all(pem)[0]


def read_all(pem: bytes) -> list[Certificate]:
    """Every certificate of ``pem``. Raises ValueError when it holds none, or something else that is broken."""
    return [_described(found) for found in x509.load_pem_x509_certificates(pem)]


def fits(certificate: bytes, key: bytes) -> bool:
    """Whether the private ``key`` is that of the first certificate. Raises ValueError when one of them can't be read."""
    return _spki(_key(key).public_key()) == read(certificate).key


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, ends: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(START)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), secret)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key(pem: bytes) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise ValueError("it is encrypted") from None
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None


def _spki(key: object) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_bytes(serialization.Encoding.DER, form))  # type: ignore[attr-defined]  # every kind of public key has it


def _described(found: x509.Certificate) -> Certificate:
    return Certificate(
        subject=found.subject.rfc4514_string(),
        issuer=found.issuer.rfc4514_string(),
        names=_names(found),
        begins=found.not_valid_before_utc,
        ends=found.not_valid_after_utc,
        key=_spki(found.public_key()),
    )


def _names(found: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(address) for address in extension.get_values_for_type(x509.IPAddress)]
    return (*extension.get_values_for_type(x509.DNSName), *addresses)
