from __future__ import annotations

import base64
import json
import os

import pytest

from edgeagent.errors import Failed, Refused
from edgeagent.trust import creds, jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair, verify

NOW = 1_800_000_000
ROLE, ACCOUNT, USER = KeyPair.generate("account"), KeyPair.generate("account"), KeyPair.generate("user")


def make(expires_at=NOW + 60, tags=("group:berlin", "site:x", "group:alpha")) -> Credentials:
    token = jwt.scoped_user(
        ROLE, subject=USER.public, name="pi-1", account=ACCOUNT.public, issued_at=NOW, expires_at=expires_at, tags=tags
    )
    return Credentials(token, USER.seed)


def saved(tmp_path, text, mode=0o600):
    path = tmp_path / "device.creds"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_credentials_say_who_they_are():
    made = make()
    assert (made.name, made.public_key, made.issued_at, made.expires_at) == ("pi-1", USER.public, NOW, NOW + 60)
    assert made.groups == ("berlin", "alpha")  # the hub's order, not the alphabet's
    assert make(expires_at=None, tags=()).expires_at is None and make(tags=()).groups == ()


def test_a_file_is_read_back(tmp_path):
    assert creds.load(saved(tmp_path, make().format())) == make()


def test_files_of_other_tools_are_read():
    # nsc ends a part with more dashes than it begins it, and Windows editors bring their own line ends.
    assert creds.parse(make().format().replace("\n", "\r\n")) == make()


def test_a_peek_tells_the_name_without_the_key(tmp_path):
    others = KeyPair.generate("user").seed
    path = saved(tmp_path, Credentials(make().jwt, others).format())
    login = creds.peek(path)
    assert login == creds.Login("pi-1", ("berlin", "alpha"), NOW + 60, make().public_key, NOW)
    assert creds.unchecked(path).seed == others
    with pytest.raises(Failed, match=r"device\.creds.*\.creds"):
        creds.peek(saved(tmp_path, "hello"))
    with pytest.raises(Refused, match="`chmod 600"):
        creds.peek(saved(tmp_path, make().format(), 0o644))


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(Failed, match=r"no such file. Ask whoever runs the hub"):
        creds.load(tmp_path / "device.creds")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        make().jwt,
        make().format().replace("SEED", "SEAT"),
        make().format()[:300],
        make().format().replace(USER.seed, USER.seed[:-1]),
        make().format().replace(make().jwt, "a.b.c"),
    ],
)
def test_what_is_no_creds_file_is_refused(tmp_path, text):
    with pytest.raises(Failed, match=r"device\.creds.*\.creds"):
        creds.load(saved(tmp_path, text))


def test_a_binary_file_is_refused(tmp_path):
    path = saved(tmp_path, "")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Failed):
        creds.load(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(Failed):
        creds.load(tmp_path)


def test_the_seed_must_be_the_jwts():
    with pytest.raises(Failed, match="another user"):
        creds.parse(Credentials(make().jwt, KeyPair.generate("user").seed).format())


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
def test_a_seed_that_others_can_read_is_refused(tmp_path, mode):
    with pytest.raises(Refused, match="`chmod 600"):
        creds.load(saved(tmp_path, make().format(), mode))


def test_a_file_that_we_may_not_read(tmp_path, monkeypatch):
    path = saved(tmp_path, make().format(), 0o000)
    if os.geteuid() == 0:  # root may read everything: be somebody else for a moment
        for folder in [tmp_path, *tmp_path.parents][:3]:
            folder.chmod(0o711)
        os.seteuid(65534)
    try:
        with pytest.raises(Refused, match=r"[Rr]un as the user"):
            creds.load(path)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


def test_the_text_form_shows_no_secret():
    assert USER.seed not in repr(make()) and make().jwt not in repr(make())


def test_the_callbacks_give_the_jwt_and_sign_the_nonce():
    give_jwt, sign = creds.callbacks(make())
    assert give_jwt().decode() == make().jwt
    signature = sign("nonce").decode()
    assert "=" not in signature
    assert verify(USER.public, b"nonce", base64.urlsafe_b64decode(signature + "=="))


def test_a_damaged_seed_is_seen_without_the_crypto_library(tmp_path):
    login = make()
    other = "A" if login.seed[20] != "A" else "B"
    path = saved(tmp_path, login.format().replace(login.seed, login.seed[:20] + other + login.seed[21:]))
    with pytest.raises(Failed, match="its seed is damaged"):
        creds.unchecked(path)


def test_what_is_no_name_of_a_group_is_none():
    """A hub that was broken into signs any tag; a device must start with its credentials all the same."""
    made = make(tags=("group:a b", "group:", "group:berlin", "group:*"))
    assert made.groups == ("berlin",)
    with pytest.raises(Refused, match="'a b', which is no name of a group"):
        creds.check_issued(made.jwt, key=USER.public, name="pi-1", what="renew")
    creds.check_issued(make().jwt, key=USER.public, name="pi-1", what="renew")


@pytest.mark.parametrize("tags", ["group:x", [1], {"group": "x"}, [["group:x"]]])
def test_tags_that_are_no_list_of_text_are_no_jwt(tags):
    head, body, signature = make().jwt.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["nats"]["tags"] = tags
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    with pytest.raises(Failed, match="tags"):
        jwt.claims(f"{head}.{forged}.{signature}")
