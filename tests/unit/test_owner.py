"""The owner's file, and what only the owner can sign."""

from __future__ import annotations

import re
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import Failed, Refused, UsageProblem
from edgeagent.hub import founding, ownerfile, roles
from edgeagent.hub.keyring import DAY_SECONDS, Keyring
from edgeagent.hub.owner import Owner, Remembered
from edgeagent.hub.publickeys import PublicKeys
from edgeagent.trust import jwt
from edgeagent.trust.nkeys import KeyPair

PASSPHRASE = "correct horse battery staple"


@pytest.fixture(scope="module")
def owner() -> Owner:
    return Owner.create("berlin")


# ---- the file -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passphrase", [PASSPHRASE, None])
def test_saved_and_loaded(owner: Owner, tmp_path: Path, passphrase: str | None) -> None:
    path = tmp_path / "owners" / "berlin.keys"
    owner.remembered = Remembered(url="nats://h:4222", authorities="PEM", options="[hub]")
    owner.save(path, passphrase)
    loaded = Owner.load(path, passphrase)
    assert loaded.keys() == owner.keys() and loaded.public == owner.public
    assert (loaded.hub, loaded.remembered) == ("berlin", owner.remembered)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    plain = [name for name in founding.KEYS if owner.key(name).seed.encode() in path.read_bytes()]
    assert plain == ([] if passphrase else list(founding.KEYS))


def test_it_is_not_replaced_by_accident(owner: Owner, tmp_path: Path) -> None:
    owner.save(tmp_path / "a.keys", None)
    with pytest.raises(Refused, match="there is one already"):
        Owner.create("berlin").save(tmp_path / "a.keys", None)
    assert Owner.load(tmp_path / "a.keys", None).keys() == owner.keys()
    owner.save(tmp_path / "a.keys", PASSPHRASE, replace=True)
    assert Owner.load(tmp_path / "a.keys", PASSPHRASE).keys() == owner.keys()


def test_each_thing_that_can_be_wrong_with_it_says_so(owner: Owner, tmp_path: Path) -> None:
    path = tmp_path / "a.keys"
    with pytest.raises(Failed, match="there is no such file"):
        Owner.load(path, PASSPHRASE)
    owner.save(path, PASSPHRASE)
    with pytest.raises(Refused, match="the passphrase is wrong"):
        Owner.load(path, "wrong")
    path.chmod(0o640)
    with pytest.raises(Refused, match="others on this machine can read it"):
        Owner.load(path, PASSPHRASE)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b'"n": ', b'"n":  1'))
    with pytest.raises(Failed, match="damaged"):
        Owner.load(path, PASSPHRASE)


@pytest.mark.parametrize(
    ("body", "error", "why"),
    [
        (b"{}", Failed, "damaged"),
        (b'{"hub":"berlin","seeds":{}}', Failed, "the key operator is missing"),
        (b'{"hub":"berlin","seeds":{"operator":"SOX"}}', Failed, "damaged"),
        (b'{"hub":"munich","seeds":{}}', Refused, "its keys are of 'munich'"),
    ],
)
def test_a_body_that_is_none(tmp_path: Path, body: bytes, error: type[Exception], why: str) -> None:
    path = tmp_path / "a.keys"
    path.touch(0o600)
    path.write_bytes(ownerfile.seal("berlin", body, None))
    with pytest.raises(error, match=why):
        Owner.load(path, None)


def test_nothing_shows_a_seed(owner: Owner, tmp_path: Path) -> None:
    shown = f"{owner!r} {owner.public!r} {owner.keys()!r} {owner.key('operator')!r} {owner.service_credentials('hub')!r}"
    assert not re.search(r"S[OAU][A-Z2-7]{56}", shown)


# ---- of which hub, how old ----------------------------------------------------------------------------------------------------


def test_another_hubs_file_is_refused(owner: Owner) -> None:
    owner.check_same(owner.public, Path("/hub"))
    with pytest.raises(Refused, match="the hub in /hub is another one"):
        owner.check_same(Owner.create("berlin").public, Path("/hub"))


def test_an_older_file_is_brought_up_to_date(owner: Owner, tmp_path: Path) -> None:
    older = {name: owner.key(name) for name in founding.KEYS if name not in ("role-group-operator", "account-PROVISION")}
    old = Owner("berlin", older)
    with pytest.raises(Refused, match=r"lack the role group-operator.*hub keys update"):
        old.operator_credentials("olga", "operator", groups=["berlin"])
    with pytest.raises(Refused, match="hub keys update"):
        old.write_hub(tmp_path)
    assert old.operator_credentials("olga", "operator").name == "olga"
    assert sorted(old.add_missing()) == ["account-PROVISION", "role-group-operator"] and old.add_missing() == []
    old.write_hub(tmp_path)
    assert Keyring.load(tmp_path).role_public("group-operator") == old.role_public("group-operator")
    assert old.account_public("HUB") == owner.account_public("HUB"), "what was there stays"


def test_what_is_signed_once_is_always_the_same_text(owner: Owner) -> None:
    seeds = {name: owner.key(name) for name in founding.KEYS}
    public = founding.public("berlin", seeds)
    assert isinstance(public, PublicKeys) and public == owner.public and public.problem() == ""
    assert founding.services(seeds)["hub"] == owner.service_credentials("hub")


# ---- people -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", roles.PEOPLE)
def test_a_persons_credentials(owner: Owner, role: Any) -> None:
    made = owner.operator_credentials("olga", role)
    assert made.name == "olga" and made.expires_at and abs(made.expires_at - time.time() - 30 * DAY_SECONDS) < 60
    claims = jwt.decode(made.jwt, issuers=[owner.role_public(role)])
    assert claims["nats"]["issuer_account"] == owner.account_public("OPS")
    assert claims["nats"].get("tags", []) == ([] if role == "viewer" else ["upload:*"])


@pytest.mark.parametrize(("role", "signer"), [("viewer", "group-viewer"), ("operator", "group-operator")])
def test_groups_make_it_another_role(owner: Owner, role: Any, signer: Any) -> None:
    made = owner.operator_credentials("olga", role, groups=["berlin", "lab"])
    claims = jwt.decode(made.jwt, issuers=[owner.role_public(signer)])
    assert claims["nats"]["tags"] == [
        "group:berlin",
        "group:lab",
        *(["upload:*"] if role == "operator" else []),
    ] and made.groups == ("berlin", "lab")


def test_actions_are_tags(owner: Owner) -> None:
    made = owner.operator_credentials("olga", "operator", actions=["service.*", "ping"])
    claims = jwt.decode(made.jwt, issuers=[owner.role_public("operator")])
    assert claims["nats"]["tags"] == ["action:service.*", "action:ping"]


@pytest.mark.parametrize("allowed", [["file.push"], ["ping", "file.*"], ["*"], ["f*.push"], ["agent.*"], ["mcu.update"]])
def test_who_may_give_a_command_with_a_file_may_upload_it(owner: Owner, allowed: list[str]) -> None:
    claims = jwt.claims(owner.operator_credentials("olga", "operator", actions=allowed).jwt)
    assert claims["nats"]["tags"][-1] == "upload:*"


@pytest.mark.parametrize(
    ("name", "role", "limits"),
    [
        ("o.l", "viewer", {}),
        ("", "viewer", {}),
        (">", "viewer", {}),
        ("olga", "device", {}),
        ("olga", "group-operator", {}),
        ("olga", "root", {}),
        ("olga", "admin", {"groups": ["berlin"]}),
        ("olga", "viewer", {"actions": ["ping"]}),
        ("olga", "operator", {"groups": ["Berlin"]}),
        ("olga", "operator", {"groups": ["*"]}),
        ("olga", "operator", {"groups": ["a:b"]}),
        ("olga", "operator", {"actions": ["Reboot"]}),
        ("olga", "operator", {"actions": ["a:b"]}),
        ("olga", "operator", {"actions": [""]}),
    ],
)
def test_what_is_no_person_is_refused(owner: Owner, name: str, role: Any, limits: dict[str, list[str]]) -> None:
    with pytest.raises(UsageProblem):
        owner.operator_credentials(name, role, **limits)


def test_an_owner_is_a_keyring(owner: Owner) -> None:
    assert owner.device_credentials("pi-1").name == "pi-1"
    assert jwt.decode(owner.claim_jwt("t", 60), issuers=[owner.role_public("provision")])
    key = KeyPair.generate("user")
    assert jwt.decode(owner.renewal_jwt("pi-1", key.public), issuers=[owner.role_public("renewal")])
