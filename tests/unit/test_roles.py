from __future__ import annotations

import pytest

from edgeagent.hub import roles
from edgeagent.hub.streams import PEOPLE_READ, STREAMS

GET = "edge.api.DIRECT.GET."


def test_a_device_has_exactly_these_rights():
    assert roles.device(micro=False) == {
        "pub": {
            "allow": [
                "edge.from.{{name()}}.report",
                "edge.from.{{name()}}.heartbeat",
                "edge.from.{{name()}}.result.*",
                "edge.from.{{name()}}.metric",
                "edge.from.{{name()}}.event.debug",
                "edge.from.{{name()}}.event.info",
                "edge.from.{{name()}}.event.warning",
                "edge.from.{{name()}}.event.error",
                "edge.from.{{name()}}.event.critical",
                "edge.from.{{name()}}.data",
                "edge.from.{{name()}}.file",
                "edge.from.{{name()}}.request.*",
                "edge.from.{{name()}}.reply.*.*",
                GET + "KV_edge_config.$KV.edge_config.device.{{name()}}",
                GET + "KV_edge_config.$KV.edge_config.group.{{tag(group)}}",
                GET + "KV_edge_config.$KV.edge_config.fleet.all",
                GET + "KV_edge_trust.$KV.edge_trust.signers",
                GET + "KV_edge_trust.$KV.edge_trust.authorities",
                GET + "KV_edge_devices.$KV.edge_devices.{{name()}}",
                GET + "EDGE_COMMANDS.edge.to.device.{{name()}}.cmd.*",
                GET + "EDGE_COMMANDS.edge.to.group.{{tag(group)}}.cmd.*",
                GET + "EDGE_COMMANDS.edge.to.fleet.all.cmd.*",
                GET + "EDGE_REPORTS.edge.from.{{name()}}.report",
                GET + "EDGE_REPORTS.edge.from.{{name()}}.heartbeat",
                GET + "EDGE_RESULTS.edge.from.{{name()}}.result.*",
                GET + "EDGE_METRICS.edge.from.{{name()}}.metric",
                GET + "EDGE_DATA.edge.from.{{name()}}.data",
                GET + "EDGE_FILES.edge.file.*.*",
            ],
            "deny": ["$MQTT.>"],
        },
        "sub": {
            "allow": [
                "edge.to.device.{{name()}}.>",
                "edge.to.group.{{tag(group)}}.>",
                "edge.to.fleet.all.>",
                "edge.to.trust.signers.config",
                "edge.to.trust.authorities.config",
            ]
        },
        "subs": 160,
        "payload": 1048576,
        "allowed_connection_types": ["LEAFNODE", "LEAFNODE_WS"],
    }


def test_micro_adds_the_micro_protocol_and_nothing_else():
    def added(role: roles.Role, way: str) -> set[str]:
        with_it, without = (roles.template(role, micro=micro)[way]["allow"] for micro in (True, False))
        assert set(without) <= set(with_it)
        return set(with_it) - set(without)

    assert added("device", "pub") == {"_INBOX.srv.>"}
    assert added("device", "sub") == {"$SRV.>"}
    assert added("viewer", "sub") == {"_INBOX.srv.{{name()}}.>"}
    questions = {"$SRV.PING", "$SRV.PING.>", "$SRV.INFO", "$SRV.INFO.>", "$SRV.STATS", "$SRV.STATS.>"}
    assert added("viewer", "pub") == added("operator", "pub") == questions


def test_a_viewer_can_ask_and_read_only():
    allowed = roles.viewer(micro=False)["pub"]["allow"]
    queries = {"edge.to.fleet.all.query", "edge.to.group.*.query", "edge.to.device.*.query"}
    reads = {f"edge.api.{form}.{stream}" for stream in PEOPLE_READ for form in ("STREAM.INFO", "DIRECT.GET")}
    assert set(allowed) == queries | reads | {f"{GET}{stream}.>" for stream in PEOPLE_READ}
    assert roles.viewer(micro=False)["sub"]["allow"] == [
        "_INBOX.ops.{{name()}}.>",
        "edge.from.*.reply.{{name()}}.*",
        "edge.live.>",
    ]


def test_people_read_all_but_the_audit_and_what_lets_devices_in():
    hidden = {"EDGE_AUDIT", "KV_edge_tokens", "KV_edge_revocations"}
    assert {stream.name for stream in STREAMS} - set(PEOPLE_READ) == hidden


@pytest.mark.parametrize(("limited", "whole"), [("group-viewer", "viewer"), ("group-operator", "operator")])
def test_who_is_limited_to_groups_addresses_nothing_else(limited: roles.Role, whole: roles.Role):
    mine, all_of_it = roles.template(limited, micro=True), roles.template(whole, micro=False)
    addressed = [
        subject for subject in mine["pub"]["allow"] if "edge.to" in subject or ("$KV" in subject and "DIRECT" not in subject)
    ]
    assert addressed and all("group.{{tag(group)}}" in subject for subject in addressed)
    narrowed = {subject.replace("group.*", "group.{{tag(group)}}") for subject in all_of_it["pub"]["allow"]}
    assert set(mine["pub"]["allow"]) <= narrowed
    assert mine["sub"] == all_of_it["sub"]


def test_an_operator_adds_config_commands_and_files_if_the_login_says_so():
    more = set(roles.operator(micro=True)["pub"]["allow"]) - set(roles.viewer(micro=True)["pub"]["allow"])
    scopes = ("fleet.all", "group.*", "device.*")
    written = {f"$KV.edge_config.{scope}" for scope in scopes} | {f"edge.to.{scope}.cmd.*" for scope in scopes}
    assert more == written | {"edge.file.{{tag(upload)}}.*"}
    assert roles.operator(micro=True)["sub"] == roles.viewer(micro=True)["sub"]


def test_making_one_role_does_not_change_another():
    before = roles.viewer(micro=True)
    roles.operator(micro=True)
    assert roles.viewer(micro=True) == before


def test_an_admin_adds_orders_to_the_hub_in_the_own_name_and_who_may_sign():
    admin, operator = roles.admin(micro=True), roles.operator(micro=True)
    more = set(admin["pub"]["allow"]) - set(operator["pub"]["allow"])
    assert more == {"edge.admin.{{name()}}.*", "$KV.edge_trust.signers"}
    assert admin["sub"] == operator["sub"]


def test_a_claim_token_can_do_one_thing():
    template = roles.template("provision", micro=True)
    assert template["pub"] == {"allow": ["provision.claim.{{name()}}"], "deny": ["$MQTT.>"]}
    assert template["sub"] == {"allow": ["_INBOX.{{name()}}.>"]}
    assert template["bearer_token"] is True and template["subs"] == 8


def test_a_renewal_credential_can_do_one_thing_and_is_bound_to_its_key():
    template = roles.template("renewal", micro=True)
    assert template["pub"] == {"allow": ["provision.renew.{{name()}}"], "deny": ["$MQTT.>"]}
    assert template["sub"] == {"allow": ["edge.to.device.{{name()}}.in.>"]}
    assert "bearer_token" not in template


@pytest.mark.parametrize("role", roles.ROLES)
def test_no_role_may_do_everything(role):
    template = roles.template(role, micro=True)
    for way in ("pub", "sub"):
        assert not {">", "edge.>", "$KV.>", "$JS.>", "$SYS.>", "_INBOX.>"} & set(template[way]["allow"])
    assert template["payload"] > 0 and template["subs"] > 0
