from __future__ import annotations

import pytest

from edgeagent.hub import accounts

PUBLICS = {name: f"A{name}" for name in accounts.ACCOUNTS}
ROLE_KEYS = {role: f"key of {role}" for role in accounts.ROLE_ACCOUNT}


def made(account, micro=True):
    tokens = {grant: f"token {grant.importer} {grant.subject}" for grant in accounts.grants(micro=micro)}
    return accounts.claims(account, publics=PUBLICS, role_keys=ROLE_KEYS, tokens=tokens, micro=micro)


def crossing(account, micro=True):
    """``(kind, subject in the exporter, subject here)`` by exporter."""
    return {
        (claim["account"], claim["type"], claim["subject"], claim.get("local_subject", claim["subject"]))
        for claim in made(account, micro)["imports"]
    }


GETS = {
    ("AHUB", "service", "$JS.API.DIRECT.GET.*.>", "edge.api.DIRECT.GET.*.>"),
    ("AHUB", "service", "$JS.API.DIRECT.GET.*", "edge.api.DIRECT.GET.*"),
}


#: Many answers for one request: the hub remembers each for as long as its inbox is listened to, so devices don't have it.
BATCHES = ("AHUB", "service", "$JS.API.DIRECT.GET.*", "edge.api.DIRECT.GET.*")


def same(exporter, kind, *subjects):
    return {(exporter, kind, subject, subject) for subject in subjects}


def test_ops_imports_exactly_this():
    assert crossing("OPS") == GETS | {
        ("AHUB", "service", "$JS.API.STREAM.INFO.*", "edge.api.STREAM.INFO.*"),
        *same(
            "AHUB", "service", "edge.to.*.*.cmd.*", "edge.file.*.*", "$KV.edge_config.*.*", "$KV.edge_trust.*", "edge.admin.*.*"
        ),
        *same("AHUB", "stream", "edge.live.>"),
    }


def test_fleet_imports_exactly_this():
    events = [f"event.{severity}" for severity in ("debug", "info", "warning", "error", "critical")]
    uploads = ("report", "heartbeat", "result.*", *events, "metric", "data", "file", "request.*")
    plain = {
        min(GETS - {BATCHES}),
        *same("AHUB", "service", *[f"edge.from.*.{what}" for what in uploads]),
        *same("AHUB", "stream", "edge.to.*.*.config", "edge.to.*.*.command", "edge.to.*.*.record"),
        *same("AOPS", "service", "edge.from.*.reply.*.*"),
        *same("AOPS", "stream", "edge.to.*.*.query"),
    }
    assert crossing("FLEET", micro=False) == plain
    assert crossing("FLEET") == plain | same("AOPS", "stream", "$SRV.>") | same("AOPS", "service", "_INBOX.srv.>")


@pytest.mark.parametrize("account", ["SYS", "HUB", "PROVISION"])
def test_the_others_import_nothing(account):
    assert made(account)["imports"] == []


@pytest.mark.parametrize("account", ["SYS", "FLEET", "PROVISION"])
def test_and_export_nothing(account):
    assert made(account)["exports"] == []


@pytest.mark.parametrize("micro", [True, False])
def test_every_export_is_private_and_taken_by_somebody(micro):
    granted = {(grant.exporter, grant.kind, grant.subject) for grant in accounts.grants(micro=micro)}
    exported = set()
    for name in accounts.ACCOUNTS:
        for claim in made(name, micro)["exports"]:
            assert claim["token_req"] is True
            exported.add((name, claim["type"], claim["subject"]))
    assert exported == granted


def test_only_batches_may_be_answered_many_times():
    responses = {claim["subject"]: claim.get("response_type") for name in ("HUB", "OPS") for claim in made(name)["exports"]}
    assert [subject for subject, response in responses.items() if response == "Stream"] == ["$JS.API.DIRECT.GET.*"]


def test_an_import_carries_the_token_of_its_own_account():
    for name in ("OPS", "FLEET"):
        for claim in made(name)["imports"]:
            assert claim["token"].startswith(f"token {name} ")


def test_no_local_name_is_below_the_servers_own():
    # $JS.hub.API would be taken by the server's domain mapping.
    for name in ("OPS", "FLEET"):
        assert not [claim for claim in made(name)["imports"] if claim.get("local_subject", claim["subject"]).startswith("$JS")]


def test_only_hub_has_jetstream():
    assert [name for name in accounts.ACCOUNTS if made(name)["jetstream"]] == ["HUB"]


def test_each_role_is_signed_for_in_its_own_account():
    signers = {name: [scope["role"] for scope in made(name)["signing_keys"]] for name in accounts.ACCOUNTS}
    assert signers == {
        "SYS": [],
        "HUB": [],
        "OPS": ["viewer", "operator", "admin", "group-viewer", "group-operator"],
        "FLEET": ["device"],
        "PROVISION": ["provision", "renewal"],
    }
    assert made("FLEET")["signing_keys"][0]["key"] == "key of device"


def test_claims_and_renewals_are_bounded():
    assert made("PROVISION")["limits"] == {"conn": 600, "leaf": 500}


def test_a_request_that_nobody_answers_is_soon_forgotten():
    """nats-server would keep it for two minutes: 90 MB for 200,000 answers to queries that named a reply."""
    held = {
        claim["subject"]: claim.get("response_threshold", 0) / 1e9 for name in ("HUB", "OPS") for claim in made(name)["exports"]
    }
    assert held["edge.from.*.reply.*.*"] == held["_INBOX.srv.>"] == 0.1
    assert held["edge.from.>"] == held["$JS.API.DIRECT.GET.*.>"] == 10


def test_every_service_that_crosses_has_a_wildcard():
    """What is sent to a literal import's subject as a reply enters the import; tests/live/test_attacks.py shows it for others."""
    for name in ("OPS", "FLEET"):
        for claim in made(name)["imports"]:
            assert claim["type"] == "stream" or "*" in claim["subject"] or ">" in claim["subject"]
