"""The encrypted form: each way in which it cannot be read says so, and an attacker who changes it gains nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeagent.errors import Failed, Refused
from edgeagent.hub import ownerfile

BODY = b'{"seeds": "SOSECRET"}'
SEALED = ownerfile.seal("berlin", BODY, "open sesame")


def changed(**fields: Any) -> bytes:
    """SEALED with other fields, and the checksum that an attacker would put there."""
    file = ownerfile._read(SEALED, "read it")
    for name, value in fields.items():
        if name == "kdf" and value is not None:
            value = ownerfile._Kdf(**{**{key: getattr(file.kdf, key) for key in ("n", "r", "p", "salt")}, **value})
        file = ownerfile.msgspec.structs.replace(file, **{name: value})
    file = ownerfile.msgspec.structs.replace(file, checksum=ownerfile._checksum(file))
    return ownerfile.msgspec.json.encode(file)


def test_it_opens_with_its_passphrase_only() -> None:
    assert ownerfile.unseal(SEALED, "open sesame", "read it") == ("berlin", BODY)
    assert b"SOSECRET" not in SEALED and ownerfile.is_encrypted(SEALED, "read it")
    for wrong in ("open sesame ", "", "Open Sesame"):
        with pytest.raises(Refused, match="the passphrase is wrong"):
            ownerfile.unseal(SEALED, wrong, "read it")
    with pytest.raises(Refused, match="no passphrase was given"):
        ownerfile.unseal(SEALED, None, "read it")


def test_each_file_has_a_salt_of_its_own() -> None:
    assert json.loads(ownerfile.seal("berlin", BODY, "open sesame"))["kdf"]["salt"] != json.loads(SEALED)["kdf"]["salt"]


def test_without_a_passphrase_it_is_plain() -> None:
    plain = ownerfile.seal("berlin", BODY, None)
    assert json.loads(plain)["body"] == BODY.decode() and not ownerfile.is_encrypted(plain, "read it")
    assert ownerfile.unseal(plain, None, "read it") == ownerfile.unseal(plain, "any", "read it") == ("berlin", BODY)


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"[]", b"\xff", SEALED[:-60], SEALED.replace(b"berlin", b"munich")])
def test_damage_is_told_from_a_wrong_passphrase(data: bytes) -> None:
    with pytest.raises(Failed, match="damaged"):
        ownerfile.unseal(data, "open sesame", "read it")


def test_every_single_changed_byte_of_the_body_is_seen() -> None:
    start = SEALED.index(b'"body": "') + 9
    for place in range(start, start + 40):
        data = bytearray(SEALED)
        data[place] = ord("A") if data[place] != ord("A") else ord("B")
        with pytest.raises(Failed, match="damaged"):
            ownerfile.unseal(bytes(data), "open sesame", "read it")


@pytest.mark.parametrize("kdf", [{"n": 1 << 14}, {"r": 4}, {"p": 2}, {"salt": "AAAAAAAAAAAAAAAAAAAAAA=="}])
def test_cheaper_parameters_do_not_open_it(kdf: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="the passphrase is wrong"):
        ownerfile.unseal(changed(kdf=kdf), "open sesame", "read it")


@pytest.mark.parametrize("kdf", [{"n": 1 << 40}, {"n": 3}, {"n": 0}, {"r": 1 << 20}, {"p": 1000}, {"p": 0}, {"salt": "%"}])
def test_a_forged_file_does_not_eat_the_memory(kdf: dict[str, Any]) -> None:
    with pytest.raises(Failed, match="damaged"):
        ownerfile.unseal(changed(kdf=kdf), "open sesame", "read it")


@pytest.mark.parametrize("fields", [{"v": 2}, {"kdf": {"name": "argon2"}}])
def test_a_newer_form_is_named(fields: dict[str, Any]) -> None:
    with pytest.raises(Failed, match="newer edgeagent"):
        ownerfile.unseal(changed(**fields), "open sesame", "read it")


def test_taking_the_encryption_off_gives_the_ciphertext_only() -> None:
    _, body = ownerfile.unseal(changed(kdf=None), None, "read it")
    assert b"SOSECRET" not in body
