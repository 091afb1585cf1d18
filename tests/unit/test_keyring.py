"""The keys on the hub's machine: which they are, who may read them, and what is signed with them."""

from __future__ import annotations

import json
import re
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import EdgeError, Failed, Refused, UsageProblem
from edgeagent.hub import accounts, roles
from edgeagent.hub.keyring import DAY_SECONDS, PRELOAD_ISSUED_AT, Keyring
from edgeagent.hub.owner import Owner
from edgeagent.trust import creds, jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair

SEED = re.compile(rb"S[A-Z][A-Z2-7]{56}")
OWNER = Owner.create("berlin")
SERVICES = ("hub", "sys", "provision", "fleet")
HELD = ("operator-signing", "role-device", "role-provision", "role-renewal")


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    OWNER.write_hub(tmp_path / "hub")
    return tmp_path / "hub"


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    folder = tmp_path_factory.mktemp("hub")
    OWNER.write_hub(folder)
    return Keyring.load(folder)


def lasts(credentials: Credentials, days: float) -> bool:
    return credentials.expires_at is not None and abs(credentials.expires_at - time.time() - days * DAY_SECONDS) < 60


# ---- on disk -----------------------------------------------------------------------------------------------------------------


def test_the_hub_has_the_seeds_it_needs_and_no_other(hub: Path) -> None:
    folder = hub / "keys"
    found = {seed.decode() for path in folder.iterdir() for seed in SEED.findall(path.read_bytes())}
    allowed = {OWNER.key(name).seed for name in (*HELD, *[f"user-{service}" for service in SERVICES])}
    assert found == allowed
    assert {path.name for path in folder.iterdir()} == {
        *[f"{name}.nk" for name in HELD],
        *[f"{service}.creds" for service in SERVICES],
        "public.json",
    }


def test_everything_is_private(hub: Path) -> None:
    assert stat.S_IMODE((hub / "keys").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (hub / "keys").iterdir()} == {0o600}
    assert [path.name for path in hub.iterdir()] == ["keys"]  # no draft is left behind


def test_what_was_written_is_loaded(hub: Path) -> None:
    loaded = Keyring.load(hub)
    assert [loaded.account_public(name) for name in accounts.ACCOUNTS] == [OWNER.account_public(n) for n in accounts.ACCOUNTS]
    assert [loaded.role_public(role) for role in roles.ROLES] == [OWNER.role_public(role) for role in roles.ROLES]
    assert loaded.operator_jwt() == OWNER.operator_jwt() and loaded.signers() == OWNER.signers()
    when = 1_800_000_000
    assert loaded.account_jwts(issued_at=when) == OWNER.account_jwts(issued_at=when), "signing is deterministic"


def test_no_keys_at_all(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"hub init.*hub keys restore"):
        Keyring.load(tmp_path)


@pytest.mark.parametrize("name", ["role-device.nk", "sys.creds", "public.json"])
def test_a_missing_file(hub: Path, name: str) -> None:
    (hub / "keys" / name).unlink()
    with pytest.raises(Failed, match=f"{re.escape(name)}.*no such file.*hub keys update"):
        Keyring.load(hub)


@pytest.mark.parametrize("name", ["role-device.nk", "sys.creds", "public.json"])
@pytest.mark.parametrize("text", ["", "hello", "{}", pytest.param(KeyPair.generate("account").seed[:-1], id="seed-cut"), "\xe4"])
def test_a_damaged_file(hub: Path, name: str, text: str) -> None:
    (hub / "keys" / name).write_text(text, encoding="latin-1")
    with pytest.raises(Failed, match=re.escape(name)) as caught:
        Keyring.load(hub)
    assert not SEED.search(str(caught.value).encode())


def test_a_key_of_another_kind(hub: Path) -> None:
    (hub / "keys" / "operator-signing.nk").write_text(KeyPair.generate("user").seed)
    with pytest.raises(Failed, match="key of a user, not of an operator"):
        Keyring.load(hub)


@pytest.mark.parametrize(
    ("name", "mode", "remedy"),
    [
        ("operator-signing.nk", 0o640, "`chmod 600"),
        ("role-device.nk", 0o604, "`chmod 600"),
        ("hub.creds", 0o640, "`chmod 600"),
        ("", 0o755, "`chmod 700"),
    ],
)
def test_keys_that_others_can_read(hub: Path, name: str, mode: int, remedy: str) -> None:
    (hub / "keys" / name).chmod(mode)
    with pytest.raises(Refused, match=remedy):
        Keyring.load(hub)


# ---- public.json, tampered ----------------------------------------------------------------------------------------------------


def tamper(hub: Path, change: Any) -> None:
    path = hub / "keys" / "public.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def strange() -> str:
    return KeyPair.generate("account").public


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c["roles"].update(device=strange()), "another key for the role device"),
        (lambda c: c["accounts"].update(FLEET=strange()), "signed for another account|issued by"),
        (lambda c: c["accounts"].update(SYS=strange()), "system account"),
        (lambda c: c["accounts"].update(OPS="AAAA"), "key of OPS is damaged"),
        (lambda c: c.update(operator=Owner.create("x").operator_jwt()), "system account|does not name the key"),
        (lambda c: c.update(operator=c["operator"][:-4] + "AAAA"), "signature is wrong"),
        (lambda c: c["activations"][0].update(token=c["activations"][1]["token"]), "signed for another|issued by"),
    ],
)
def test_what_does_not_fit_is_refused(hub: Path, change: Any, why: str) -> None:
    tamper(hub, change)
    with pytest.raises(Failed, match=f"({why}).*hub keys update"):
        Keyring.load(hub)


def test_a_foreign_key_for_a_role_of_people_lets_in_but_commands_nobody(hub: Path) -> None:
    # Who can write here has the operator's signing key beside it, and can let in whom he likes; so this is not refused. But no device
    # that was enrolled before follows his signatures: it pinned the signers then. `hub keys show --check` finds him (test_hubkeys.py).
    pinned = Keyring.load(hub).signers()
    thief = KeyPair.generate("account")
    tamper(hub, lambda content: content["roles"].update(operator=thief.public))
    keyring = Keyring.load(hub)
    ops = jwt.claims(keyring.account_jwts()["OPS"][1])["nats"]["signing_keys"]
    assert thief.public in [key["key"] for key in ops]
    forged = jwt.scoped_user(
        thief, subject=KeyPair.generate("user").public, name="eve", account=keyring.account_public("OPS"), issued_at=1
    )
    with pytest.raises(Refused, match="who may not"):
        jwt.decode(forged, issuers=pinned)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["roles"].pop("group-viewer"),
        lambda c: c["accounts"].pop("PROVISION"),
        lambda c: c["activations"].pop(),
    ],
)
def test_keys_that_are_older_than_the_software(hub: Path, change: Any) -> None:
    tamper(hub, change)
    with pytest.raises(Refused, match=r"older than this software and lack .*`edgeagent hub keys update`"):
        Keyring.load(hub)


# ---- what it signs ------------------------------------------------------------------------------------------------------------


def test_the_operator_names_the_key_that_signs_accounts(keyring: Keyring) -> None:
    operator = jwt.decode(keyring.operator_jwt(), issuers=[OWNER.key("operator").public])
    signing = OWNER.key("operator-signing").public
    assert operator["nats"]["system_account"] == keyring.account_public("SYS") and operator["nats"]["signing_keys"] == [signing]
    assert keyring.issuers() == {operator["sub"], signing}
    signed = keyring.account_jwts()
    assert list(signed) == list(accounts.ACCOUNTS)
    for name, (public, token) in signed.items():
        claims = jwt.decode(token, issuers=[signing])
        assert (claims["sub"], claims["name"]) == (public, name) and public == keyring.account_public(name)
        assert abs(claims["iat"] - time.time()) < 60


@pytest.mark.parametrize("micro", [True, False])
def test_each_import_has_a_token_of_its_exporter(keyring: Keyring, micro: bool) -> None:
    for public, token in keyring.account_jwts(micro=micro, issued_at=PRELOAD_ISSUED_AT).values():
        claims = jwt.claims(token)
        assert claims["iat"] == PRELOAD_ISSUED_AT
        for imported in claims["nats"].get("imports", []):
            activation = jwt.decode(imported["token"], issuers=[imported["account"]])
            assert activation["sub"] == public and activation["nats"]["kind"] == imported["type"]
            assert activation["iat"] == PRELOAD_ISSUED_AT


def test_revocations_go_into_their_account(keyring: Keyring) -> None:
    signed = keyring.account_jwts(revocations={"FLEET": {"U1": 5}})
    assert jwt.claims(signed["FLEET"][1])["nats"]["revocations"] == {"U1": 5}
    assert "revocations" not in jwt.claims(signed["OPS"][1])["nats"]


def test_a_devices_credentials(keyring: Keyring) -> None:
    made = keyring.device_credentials("pi-1", ["berlin", "alpha"])
    assert (made.name, made.groups) == ("pi-1", ("berlin", "alpha")) and lasts(made, 90)
    claims = jwt.decode(made.jwt, issuers=[keyring.role_public("device")])
    assert claims["nats"]["issuer_account"] == keyring.account_public("FLEET")
    assert creds.parse(made.format()) == made
    assert keyring.device_credentials("pi-1").public_key != made.public_key


def test_a_device_may_bring_its_own_key_and_never_expire(keyring: Keyring) -> None:
    key = KeyPair.generate("user")
    made = keyring.device_credentials("pi-1", key=key, expires_in_seconds=None)
    assert (made.public_key, made.seed, made.expires_at) == (key.public, key.seed, None)
    claims = jwt.claims(keyring.device_jwt("pi-1", [], key.public, 60, issued_at=1000))
    assert (claims["sub"], claims["iat"], claims["exp"]) == (key.public, 1000, 1060)


@pytest.mark.parametrize(
    ("device_id", "groups"), [("Pi-1", []), ("", []), ("a.b", []), ("*", []), ("hub", []), ("pi-1", ["x.y"]), ("pi-1", ["*"])]
)
def test_a_name_that_would_be_more_than_one_token_is_refused(keyring: Keyring, device_id: str, groups: list[str]) -> None:
    with pytest.raises(UsageProblem):
        keyring.device_credentials(device_id, groups)


@pytest.mark.parametrize("public", ["", "UABC", pytest.param(KeyPair.generate("account").public, id="account")])
def test_only_a_users_key_gets_a_devices_jwt(keyring: Keyring, public: str) -> None:
    with pytest.raises(UsageProblem, match="no public user key"):
        keyring.device_jwt("pi-1", [], public)
    with pytest.raises(UsageProblem, match="no public user key"):
        keyring.renewal_jwt("pi-1", public)


def test_a_renewal_login_never_expires(keyring: Keyring) -> None:
    public = KeyPair.generate("user").public
    claims = jwt.decode(keyring.renewal_jwt("pi-1", public), issuers=[keyring.role_public("renewal")])
    assert (claims["name"], claims["sub"], claims.get("exp")) == ("pi-1", public, None)
    assert claims["nats"]["issuer_account"] == keyring.account_public("PROVISION")
    with pytest.raises(UsageProblem):
        keyring.renewal_jwt("pi.1", public)


def test_a_claim_token(keyring: Keyring) -> None:
    claims = jwt.decode(keyring.claim_jwt("abc234", 3600), issuers=[keyring.role_public("provision")])
    assert claims["name"] == "abc234" and abs(claims["exp"] - time.time() - 3600) < 60
    assert claims["nats"]["issuer_account"] == keyring.account_public("PROVISION")
    with pytest.raises(UsageProblem):
        keyring.claim_jwt("*", 3600)


@pytest.mark.parametrize(("service", "account"), [("hub", "HUB"), ("sys", "SYS"), ("provision", "PROVISION")])
def test_services_belong_to_their_account_and_never_expire(keyring: Keyring, service: Any, account: Any) -> None:
    login = keyring.service_credentials(service)
    claims = jwt.decode(login.jwt, issuers=[keyring.account_public(account)])
    assert claims["nats"]["allowed_connection_types"] == ["STANDARD", "WEBSOCKET"] and login.expires_at is None
    assert login == OWNER.service_credentials(service)


def test_the_hubs_login_in_the_devices_account_has_no_voice(keyring: Keyring) -> None:
    # It is signed by the account and so carries its rights itself; nobody can change them without the account's seed.
    claims = jwt.decode(keyring.service_credentials("fleet").jwt, issuers=[keyring.account_public("FLEET")])
    assert claims["nats"]["pub"] == {"deny": [">"]} and claims["nats"]["sub"]["deny"]


def test_signers_are_the_roles_that_may_change_things(keyring: Keyring) -> None:
    assert keyring.signers() == {keyring.role_public(role): role for role in ("operator", "admin", "group-operator")}


@pytest.mark.parametrize("role", ["viewer", "operator", "admin", "group-operator"])
def test_the_hub_cannot_sign_people(keyring: Keyring, role: Any) -> None:
    # Whoever breaks into the hub has this object and its files; there is no key in them to do it with.
    with pytest.raises((KeyError, EdgeError)):
        keyring._scoped(role, "eve", KeyPair.generate("user").public, 60)
    assert not hasattr(keyring, "operator_credentials")
