"""The form of an owner's file: JSON around a body that is encrypted with a passphrase. Pure, but for the random salt.

scrypt (RFC 7914) makes the key of the passphrase, and Fernet (github.com/fernet/spec: AES-128-CBC and HMAC-SHA256) encrypts the
body with it, as the documentation of `cryptography` advises. A checksum tells a damaged file from a wrong passphrase; it protects
from accidents, Fernet from everybody else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from typing import Any

import msgspec

from edgeagent.errors import Failed, Refused

__all__ = ["is_encrypted", "seal", "unseal"]

VERSION = 1
_SALT_BYTES = 16
#: Takes 32 MiB and about 0.1 s. The parameters of a file count when it is read, within bounds: a forged one must not eat the memory.
_COST, _BLOCK, _PARALLEL = 1 << 15, 8, 1
_MAX_COST, _MAX_BLOCK, _MAX_PARALLEL = 1 << 18, 16, 4


class _Kdf(msgspec.Struct, frozen=True, kw_only=True):
    n: int
    r: int
    p: int
    salt: str
    name: str = "scrypt"


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """kdf: None when the body is not encrypted. checksum: SHA-256 over the others."""

    hub: str
    body: str
    kdf: _Kdf | None = None
    checksum: str = ""
    v: int = VERSION


def seal(hub: str, body: bytes, passphrase: str | None) -> bytes:
    """The file of the hub called ``hub`` around ``body``, which is text. passphrase: None does not encrypt it."""
    if passphrase is None:
        sealed = _File(hub=hub, body=body.decode())
    else:
        kdf = _Kdf(n=_COST, r=_BLOCK, p=_PARALLEL, salt=base64.b64encode(os.urandom(_SALT_BYTES)).decode())
        sealed = _File(hub=hub, body=_fernet(kdf, passphrase).encrypt(body).decode(), kdf=kdf)
    sealed = msgspec.structs.replace(sealed, checksum=_checksum(sealed))
    return msgspec.json.format(msgspec.json.encode(sealed), indent=1) + b"\n"


def is_encrypted(data: bytes, what: str) -> bool:
    """Whether a passphrase is needed. what: as for EdgeError. Raises Failed when the file is damaged or none."""
    return _read(data, what).kdf is not None


def unseal(data: bytes, passphrase: str | None, what: str) -> tuple[str, bytes]:
    """The hub's name on the file, and the body. what: as for EdgeError.

    passphrase: not looked at when the file is not encrypted.
    Raises Failed when the file is damaged or none, Refused when the passphrase is missing or wrong.
    """
    read = _read(data, what)
    if read.kdf is None:
        return read.hub, read.body.encode()
    if passphrase is None:
        raise Refused(what, "it is encrypted and no passphrase was given", "name a file that holds it: --passphrase-file FILE")
    from cryptography.fernet import InvalidToken

    try:
        return read.hub, _fernet(read.kdf, passphrase).decrypt(read.body.encode())
    except InvalidToken:
        raise Refused(
            what, "the passphrase is wrong", "try again; without it only a backup with another passphrase helps"
        ) from None


def _read(data: bytes, what: str) -> _File:
    remedy = "take a backup of it: `edgeagent hub keys backup` made one"
    try:
        read = msgspec.json.decode(data, type=_File)
        if read.kdf is not None:
            base64.b64decode(read.kdf.salt, validate=True)
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, ValueError):
        raise Failed(what, "it is damaged, or no owner's file", remedy) from None
    if read.v != VERSION or (read.kdf and read.kdf.name != "scrypt"):
        raise Failed(what, f"it is of version {read.v}, which a newer edgeagent wrote", "update edgeagent on this machine")
    if read.checksum != _checksum(read) or not _bounded(read.kdf):
        raise Failed(what, "it is damaged: it is not what was written", remedy)
    return read


def _bounded(kdf: _Kdf | None) -> bool:
    if kdf is None:
        return True
    is_power = kdf.n > 1 and kdf.n & (kdf.n - 1) == 0
    return is_power and kdf.n <= _MAX_COST and 0 < kdf.r <= _MAX_BLOCK and 0 < kdf.p <= _MAX_PARALLEL


def _checksum(file: _File) -> str:
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(file, checksum=""))).hexdigest()


def _fernet(kdf: _Kdf, passphrase: str) -> Any:
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    derive = Scrypt(salt=base64.b64decode(kdf.salt), length=32, n=kdf.n, r=kdf.r, p=kdf.p)
    return Fernet(base64.urlsafe_b64encode(derive.derive(passphrase.encode())))
