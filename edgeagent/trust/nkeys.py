"""NATS nkeys: Ed25519 keys written so that a person sees what kind they are (``U…`` a user, ``SU…`` a user's seed).

The form is base32 without padding of prefix, 32 bytes and a CRC-16/XMODEM, little end first; a seed has two prefix bytes
(github.com/nats-io/nkeys, README and strkey.go). The curve is libsodium's, by PyNaCl: a device checks signatures, and there it costs
1.2 MiB where ``cryptography`` costs 7.6. It is loaded when a key is first used, for much that imports us never signs.
"""

from __future__ import annotations

import base64
import binascii
import os
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

from edgeagent.errors import Failed

if TYPE_CHECKING:
    from nacl.signing import SigningKey

__all__ = ["KeyPair", "Kind", "is_public", "verify"]

Kind = Literal["operator", "account", "user", "server"]

#: strkey.go: the five bits that become the first letter, O A U N.
_PREFIX: dict[Kind, int] = {"operator": 14 << 3, "account": 0, "user": 20 << 3, "server": 13 << 3}
#: strkey.go: the letter S.
_SEED_PREFIX = 18 << 3
_KEY_BYTES = 32


class KeyPair:
    """A key that can sign. Its text form never shows the seed, so that a log line cannot leak it."""

    def __init__(self, kind: Kind, raw: bytes) -> None:
        """raw: the 32 bytes of an Ed25519 private key (RFC 8032's seed)."""
        if kind not in get_args(Kind) or len(raw) != _KEY_BYTES:
            raise ValueError(f"no {kind} key of {len(raw)} bytes")
        self.kind: Kind = kind
        self._raw = raw

    @classmethod
    def generate(cls, kind: Kind) -> KeyPair:
        """A new key from the system's random numbers."""
        return cls(kind, os.urandom(_KEY_BYTES))

    @classmethod
    def from_seed(cls, seed: str) -> KeyPair:
        """The key of a seed (``S…``). Raises Failed when it is none or was mistyped."""
        try:
            first, second, *raw = _decode(seed)
        except ValueError:
            raise Failed("read a seed", "it is damaged or no nkey seed") from None
        prefix = (first & 0b111) << 5 | second >> 3
        kind = next((kind for kind, value in _PREFIX.items() if value == prefix), None)
        if first & 0b11111000 != _SEED_PREFIX or kind is None or len(raw) != _KEY_BYTES:
            raise Failed("read a seed", "it is no seed of an operator, account, user or server")
        return cls(kind, bytes(raw))

    @property
    def seed(self) -> str:
        """The secret; whoever has it is this key."""
        prefix = _PREFIX[self.kind]
        return _encode(bytes([_SEED_PREFIX | prefix >> 5, (prefix & 0b11111) << 3]) + self._raw)

    @cached_property
    def public(self) -> str:
        """The 56 characters that may be shown to everyone."""
        return _encode(bytes([_PREFIX[self.kind]]) + bytes(self._private.verify_key))

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of the Ed25519 signature over ``data``."""
        return self._private.sign(data).signature

    @cached_property
    def _private(self) -> SigningKey:
        from nacl.signing import SigningKey

        return SigningKey(self._raw)

    def __repr__(self) -> str:
        return f"<{self.kind} key {self.public}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyPair) and (self.kind, self._raw) == (other.kind, other._raw)

    def __hash__(self) -> int:
        return hash((self.kind, self.public))


def verify(public: str, data: bytes, signature: bytes) -> bool:
    """Whether ``signature`` over ``data`` was made by the key ``public``. Never raises: rubbish is not a signature."""
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    try:
        VerifyKey(_decode(public)[1:]).verify(data, signature)
    except (BadSignatureError, ValueError):
        return False
    return True


def is_public(text: str, kind: Kind) -> bool:
    """Whether ``text`` is the public key of a ``kind``, checksum included."""
    try:
        raw = _decode(text)
    except ValueError:
        return False
    return len(raw) == 1 + _KEY_BYTES and raw[0] == _PREFIX[kind]


def _encode(raw: bytes) -> str:
    # binascii's CRC-CCITT begun with 0 is the CRC-16/XMODEM of the nkeys format.
    checked = raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(checked).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """The bytes without the checksum. Raises ValueError (binascii.Error is one)."""
    raw = base64.b32decode(text + "=" * (-len(text) % 8))
    if len(raw) < 4 or binascii.crc_hqx(raw[:-2], 0) != int.from_bytes(raw[-2:], "little"):
        raise ValueError("wrong checksum")
    return raw[:-2]
