from __future__ import annotations

import base64
import subprocess
import sys

import pytest

from edgeagent.errors import Failed
from edgeagent.trust.nkeys import KeyPair, is_public, verify

#: The example in the README of github.com/nats-io/nats.go.
SEED = "SUAGMJH5XLGZKQQWAWKRZJIGMOU4HPFUYLXJMXOO5NLFEO2OOQJ5LPRDPM"
KINDS = {"operator": "O", "account": "A", "user": "U", "server": "N"}


@pytest.mark.parametrize(("kind", "letter"), KINDS.items())
def test_a_key_shows_its_kind_and_comes_back_from_its_seed(kind, letter):
    key = KeyPair.generate(kind)
    assert key.public.startswith(letter) and key.seed.startswith("S" + letter)
    assert len(key.public) == 56 and len(key.seed) == 58
    again = KeyPair.from_seed(key.seed)
    assert (again.kind, again.public, again) == (kind, key.public, key)


def test_two_keys_differ():
    assert KeyPair.generate("user") != KeyPair.generate("user")


def test_a_seed_of_another_implementation_is_read_and_written_alike():
    key = KeyPair.from_seed(SEED)
    assert (key.kind, key.seed) == ("user", SEED)


def test_a_key_is_the_ed25519_key_of_rfc_8032():
    # RFC 8032, section 7.1, test 1.
    key = KeyPair("user", bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert base64.b32decode(key.public)[1:33].hex() == public
    assert key.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")


def test_a_signature_holds_for_its_key_and_data_only():
    key, other = KeyPair.generate("user"), KeyPair.generate("user")
    signature = key.sign(b"data")
    assert verify(key.public, b"data", signature)
    assert not verify(key.public, b"date", signature)
    assert not verify(other.public, b"data", signature)


@pytest.mark.parametrize("public", ["", "U", "not base32!", "UAAAA", SEED])
def test_rubbish_verifies_nothing(public):
    assert not verify(public, b"data", b"x" * 64)


def test_a_public_key_is_known_by_kind_and_checksum():
    public = KeyPair.generate("user").public
    assert is_public(public, "user") and not is_public(public, "account")
    assert not is_public(public[:-1] + ("A" if public[-1] != "A" else "B"), "user")
    assert not is_public(public.lower(), "user") and not is_public("Ü" * 56, "user")


@pytest.mark.parametrize(
    "seed", ["", "SU", "hello", pytest.param(KeyPair.generate("user").public, id="public"), SEED[:-1] + "A", SEED[:-4]]
)
def test_a_damaged_seed_is_refused_without_being_shown(seed):
    with pytest.raises(Failed) as caught:
        KeyPair.from_seed(seed)
    assert not seed or seed not in str(caught.value)


def test_a_key_does_not_show_its_seed():
    key = KeyPair.from_seed(SEED)
    assert SEED not in f"{key} {key!r} {vars(key)}"


def test_importing_the_module_does_not_load_cryptography():
    code = "import sys, edgeagent.trust.creds; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
