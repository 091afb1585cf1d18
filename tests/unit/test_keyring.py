from __future__ import annotations

import stat
import time

import pytest

from edgeagent.errors import Failed, Refused, UsageProblem
from edgeagent.hub import accounts, roles
from edgeagent.hub.keyring import DAY_SECONDS, Keyring
from edgeagent.trust import creds, jwt
from edgeagent.trust.nkeys import KeyPair


@pytest.fixture(scope="module")
def keyring(tmp_path_factory) -> Keyring:
    return Keyring.create(tmp_path_factory.mktemp("hub"))


def lasts(credentials, days) -> bool:
    return abs(credentials.expires_at - time.time() - days * DAY_SECONDS) < 60


def test_everything_is_there_and_private(tmp_path):
    Keyring.create(tmp_path / "new" / "hub")
    folder = tmp_path / "new" / "hub" / "keys"
    names = {path.stem for path in folder.iterdir()}
    assert names == {
        "operator",
        *[f"account-{name}" for name in accounts.ACCOUNTS],
        *[f"role-{role}" for role in roles.ROLES],
        "user-hub",
        "user-sys",
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert [path.name for path in folder.parent.iterdir()] == ["keys"]  # no draft is left behind


def test_keys_are_never_overwritten(tmp_path):
    Keyring.create(tmp_path)
    before = (tmp_path / "keys" / "operator.nk").read_text()
    with pytest.raises(Refused, match="there are some already"):
        Keyring.create(tmp_path)
    assert (tmp_path / "keys" / "operator.nk").read_text() == before


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Failed, match="make keys"):
        Keyring.create(tmp_path / "file" / "hub")


def test_what_was_made_is_loaded(tmp_path):
    made, loaded = Keyring.create(tmp_path), Keyring.load(tmp_path)
    for name in accounts.ACCOUNTS:
        assert made.account_public(name) == loaded.account_public(name)
    for role in roles.ROLES:
        assert made.role_public(role) == loaded.role_public(role)
    assert made.service_credentials("hub").public_key == loaded.service_credentials("hub").public_key


def test_no_keys_at_all(tmp_path):
    with pytest.raises(Failed, match="hub init"):
        Keyring.load(tmp_path)


def test_a_missing_key(tmp_path):
    Keyring.create(tmp_path)
    (tmp_path / "keys" / "role-device.nk").unlink()
    with pytest.raises(Failed, match=r"role-device\.nk.*no such file"):
        Keyring.load(tmp_path)


@pytest.mark.parametrize("text", ["", "hello", KeyPair.generate("account").seed[:-1]])
def test_a_damaged_key(tmp_path, text):
    Keyring.create(tmp_path)
    (tmp_path / "keys" / "account-OPS.nk").write_text(text)
    with pytest.raises(Failed, match=r"account-OPS\.nk"):
        Keyring.load(tmp_path)


def test_a_key_of_another_kind(tmp_path):
    Keyring.create(tmp_path)
    (tmp_path / "keys" / "operator.nk").write_text(KeyPair.generate("user").seed)
    with pytest.raises(Failed, match="key of a user, not of an operator"):
        Keyring.load(tmp_path)


@pytest.mark.parametrize(("name", "mode", "remedy"), [("operator.nk", 0o640, "`chmod 600"), ("", 0o755, "`chmod 700")])
def test_keys_that_others_can_read(tmp_path, name, mode, remedy):
    Keyring.create(tmp_path)
    (tmp_path / "keys" / name).chmod(mode)
    with pytest.raises(Refused, match=remedy):
        Keyring.load(tmp_path)


def test_the_operator_signs_itself_and_every_account(keyring):
    operator = jwt.decode(keyring.operator_jwt())
    assert operator["nats"]["system_account"] == keyring.account_public("SYS")
    signed = keyring.account_jwts()
    assert list(signed) == list(accounts.ACCOUNTS)
    for name, (public, token) in signed.items():
        claims = jwt.decode(token, issuers=[operator["sub"]])
        assert (claims["sub"], claims["name"]) == (public, name) and public == keyring.account_public(name)


def test_each_import_has_a_token_of_its_exporter(keyring):
    for public, token in keyring.account_jwts().values():
        for imported in jwt.claims(token)["nats"].get("imports", []):
            activation = jwt.decode(imported["token"], issuers=[imported["account"]])
            assert activation["sub"] == public and activation["nats"]["kind"] == imported["type"]


def test_revocations_go_into_their_account(keyring):
    signed = keyring.account_jwts(revocations={"FLEET": {"U1": 5}})
    assert jwt.claims(signed["FLEET"][1])["nats"]["revocations"] == {"U1": 5}
    assert "revocations" not in jwt.claims(signed["OPS"][1])["nats"]


def test_a_devices_credentials(keyring):
    made = keyring.device_credentials("pi-1", ["berlin", "alpha"])
    assert (made.name, made.groups) == ("pi-1", ("berlin", "alpha")) and lasts(made, 90)
    claims = jwt.decode(made.jwt, issuers=[keyring.role_public("device")])
    assert claims["nats"]["issuer_account"] == keyring.account_public("FLEET")
    assert creds.parse(made.format()) == made
    assert keyring.device_credentials("pi-1").public_key != made.public_key


def test_a_device_may_bring_its_own_key_and_never_expire(keyring):
    key = KeyPair.generate("user")
    made = keyring.device_credentials("pi-1", key=key, expires_in_seconds=None)
    assert (made.public_key, made.seed, made.expires_at) == (key.public, key.seed, None)
    assert jwt.claims(keyring.device_jwt("pi-1", [], key.public))["sub"] == key.public


@pytest.mark.parametrize(
    ("device_id", "groups"), [("Pi-1", []), ("", []), ("a.b", []), ("*", []), ("hub", []), ("pi-1", ["x.y"]), ("pi-1", ["*"])]
)
def test_a_name_that_would_be_more_than_one_token_is_refused(keyring, device_id, groups):
    with pytest.raises(UsageProblem):
        keyring.device_credentials(device_id, groups)


@pytest.mark.parametrize("public", ["", "UABC", KeyPair.generate("account").public])
def test_only_a_users_key_gets_a_devices_jwt(keyring, public):
    with pytest.raises(UsageProblem, match="no public user key"):
        keyring.device_jwt("pi-1", [], public)


@pytest.mark.parametrize("role", roles.PEOPLE)
def test_a_persons_credentials(keyring, role):
    made = keyring.operator_credentials("olga", role)
    assert made.name == "olga" and lasts(made, 30)
    claims = jwt.decode(made.jwt, issuers=[keyring.role_public(role)])
    assert claims["nats"]["issuer_account"] == keyring.account_public("OPS")


@pytest.mark.parametrize(
    ("name", "role"), [("o.l", "viewer"), ("", "viewer"), (">", "viewer"), ("olga", "device"), ("olga", "root")]
)
def test_what_is_no_person_is_refused(keyring, name, role):
    with pytest.raises(UsageProblem):
        keyring.operator_credentials(name, role)


@pytest.mark.parametrize(("service", "account"), [("hub", "HUB"), ("admin", "HUB"), ("sys", "SYS")])
def test_services_belong_to_their_account(keyring, service, account):
    claims = jwt.decode(keyring.service_credentials(service).jwt, issuers=[keyring.account_public(account)])
    assert claims["nats"]["allowed_connection_types"] == ["STANDARD", "WEBSOCKET"]


def test_services_never_expire_but_admins_do(keyring):
    assert keyring.service_credentials("hub").expires_at is None
    assert keyring.service_credentials("sys").public_key == keyring.service_credentials("sys").public_key
    admin = keyring.service_credentials("admin")
    assert lasts(admin, 30) and admin.public_key != keyring.service_credentials("admin").public_key
