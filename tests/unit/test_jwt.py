from __future__ import annotations

import pytest

from edgeagent.errors import Failed, Refused
from edgeagent.trust import jwt
from edgeagent.trust.nkeys import KeyPair

NOW = 1_800_000_000
OPERATOR, ACCOUNT, USER, OTHER = (KeyPair.generate(kind) for kind in ("operator", "account", "user", "account"))


def scoped(**more) -> str:
    return jwt.scoped_user(OTHER, subject=USER.public, name="pi-1", account=ACCOUNT.public, issued_at=NOW, **more)


def test_what_was_signed_is_read_back():
    token = jwt.encode(ACCOUNT, subject=USER.public, name="n", nats={"type": "user"}, issued_at=NOW, expires_at=NOW + 5)
    claims = jwt.decode(token)
    assert claims == jwt.claims(token)
    assert (claims["iss"], claims["sub"], claims["name"]) == (ACCOUNT.public, USER.public, "n")
    assert (claims["iat"], claims["exp"], claims["nats"]) == (NOW, NOW + 5, {"type": "user", "version": 2})


def test_no_expiry_is_no_claim():
    assert "exp" not in jwt.decode(scoped())


def test_a_changed_token_is_refused():
    head, body, signature = scoped().split(".")
    forged = scoped(tags=["group:admins"]).split(".")[1]
    with pytest.raises(Refused, match="signature"):
        jwt.decode(f"{head}.{forged}.{signature}")
    with pytest.raises(Refused, match="signature"):
        jwt.decode(f"{head}.{body}.AAAA")


def test_only_the_named_issuers_count():
    assert jwt.decode(scoped(), issuers=[OTHER.public])["name"] == "pi-1"
    with pytest.raises(Refused, match=OTHER.public):
        jwt.decode(scoped(), issuers=[ACCOUNT.public])


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "a.e30.c", "e30.bnVsbA.e30", "ü.ü.ü"])
def test_rubbish_is_no_jwt(text):
    with pytest.raises(Failed, match="JWT"):
        jwt.decode(text)


def test_an_operator_signs_itself_and_names_the_system_account():
    claims = jwt.decode(
        jwt.operator(OPERATOR, name="edge", system_account=ACCOUNT.public, issued_at=NOW), issuers=[OPERATOR.public]
    )
    assert claims["sub"] == OPERATOR.public and claims["nats"]["system_account"] == ACCOUNT.public
    assert "signing_keys" not in claims["nats"]


def test_an_operator_may_name_keys_that_sign_for_it():
    token = jwt.operator(OPERATOR, name="edge", system_account=ACCOUNT.public, issued_at=NOW, signing_keys=["OX"])
    assert jwt.decode(token)["nats"]["signing_keys"] == ["OX"]


def account(**more):
    return jwt.decode(jwt.account(OPERATOR, subject=ACCOUNT.public, name="A", issued_at=NOW, **more))["nats"]


def test_an_account_has_jetstream_only_when_asked_for():
    assert "disk_storage" not in account()["limits"]
    assert account(jetstream=True)["limits"]["disk_storage"] == -1


def test_an_account_takes_limits_signing_keys_and_revocations():
    scope = jwt.scope(OTHER.public, role="device", template={"payload": 7})
    made = account(limits={"leaf": 0}, signing_keys=[OTHER.public, scope], revocations={USER.public: NOW})
    assert made["limits"]["leaf"] == 0 and made["limits"]["conn"] == -1
    assert made["revocations"] == {USER.public: NOW}
    assert made["signing_keys"][0] == OTHER.public
    assert made["signing_keys"][1]["template"] == {"subs": -1, "data": -1, "payload": 7}


def test_a_scoped_user_carries_no_rights():
    # nats-server refuses a scoped user that brings rights or limits of its own.
    assert jwt.decode(scoped(tags=["group:b", "group:a"]))["nats"] == {
        "type": "user",
        "issuer_account": ACCOUNT.public,
        "tags": ["group:b", "group:a"],
        "version": 2,
    }


def test_tags_must_be_lower_case():
    with pytest.raises(ValueError, match="lower case"):
        scoped(tags=["group:Berlin"])


def test_a_plain_user_carries_its_rights():
    rights = {"pub": {"allow": ["a"]}, "payload": 10}
    token = jwt.user(
        ACCOUNT,
        subject=USER.public,
        name="x",
        account=ACCOUNT.public,
        issued_at=NOW,
        rights=rights,
        bearer=True,
        connection_types=["STANDARD"],
    )
    nats = jwt.decode(token)["nats"]
    assert nats["pub"] == {"allow": ["a"]} and (nats["payload"], nats["subs"]) == (10, -1)
    assert nats["bearer_token"] is True and nats["allowed_connection_types"] == ["STANDARD"]
    assert "issuer_account" not in nats


def test_an_activation_is_for_one_importer_and_subject():
    claims = jwt.decode(jwt.activation(ACCOUNT, importer=OTHER.public, subject="a.>", kind="service", issued_at=NOW))
    assert (claims["iss"], claims["sub"]) == (ACCOUNT.public, OTHER.public)
    assert claims["nats"] == {"type": "activation", "kind": "service", "subject": "a.>", "version": 2}
