from __future__ import annotations

import pytest

from edgeagent import subjects
from edgeagent.subjects import FLEET_ALL, Scope


@pytest.mark.parametrize("text", ["pi-01", "0", "a", "a" * 63, "a-"])
def test_ids(text: str) -> None:
    assert subjects.is_id(text) and subjects.check_id(text) == text


@pytest.mark.parametrize("text", ["", "-a", "A", "a.b", "a_b", "a b", "*", ">", "pi-01\n", "ü", "a" * 64])
def test_what_is_no_id(text: str) -> None:
    assert not subjects.is_id(text)
    with pytest.raises(ValueError, match="is no device id: 1 to 63 of a-z"):
        subjects.check_id(text)
    with pytest.raises(ValueError, match="is no group name"):
        Scope.group(text)


@pytest.mark.parametrize(("text", "expected"), [("Olga_K-2", True), ("a" * 64, True), ("", False), ("a.b", False), ("*", False)])
def test_tokens(text: str, expected: bool) -> None:
    assert subjects.is_token(text) is expected
    assert not subjects.is_token(text + "\n")


def test_scopes() -> None:
    assert [str(scope) for scope in (FLEET_ALL, Scope.group("berlin"), Scope.device("pi-01"))] == [
        "fleet.all",
        "group.berlin",
        "device.pi-01",
    ]


def test_subjects_have_the_width_that_permissions_count_on() -> None:
    scope = Scope.group("berlin")
    assert subjects.query(scope) == "edge.to.group.berlin.query"
    assert subjects.config_doorbell(scope) == "edge.to.group.berlin.config"
    assert subjects.command_log(scope, 7) == "edge.to.group.berlin.cmd.7"
    assert subjects.command_log(scope) == "edge.to.group.berlin.cmd.*"
    assert subjects.command_doorbell(scope) == "edge.to.group.berlin.command"
    assert subjects.result("pi-1", "01ABC") == "edge.from.pi-1.result.01ABC"
    assert subjects.reply("pi-01", "olga", "t0") == "edge.from.pi-01.reply.olga.t0"


def test_a_reply_is_parsed_back() -> None:
    assert subjects.parse_reply(subjects.reply("pi-01", "olga", "t0")) == ("pi-01", "t0")


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "edge.from.pi-01.reply.olga",
        "edge.from.pi-01.reply.olga.t.x",
        "edge.to.pi-01.reply.olga.t",
        "edge.from.pi-01.report.a.b",
    ],
)
def test_other_subjects_are_no_reply(subject: str) -> None:
    assert subjects.parse_reply(subject) is None


@pytest.mark.parametrize(
    ("inbox", "user"),
    [
        ("_INBOX.ops.olga.abc", "olga"),
        ("_INBOX.ops.olga.abc.1", "olga"),
        ("_INBOX.ops.olga", None),
        ("_INBOX.ops.*.abc", None),
        ("_INBOX.ops..abc", None),
        ("_INBOX.srv.olga.abc", None),
        ("_INBOX.olga.ops.abc", None),
        ("edge.to.device.pi-01.in.x", None),
        ("_R_.abc.def.ghi", None),
        ("", None),
    ],
)
def test_only_a_persons_inbox_is_answered(inbox: str, user: str | None) -> None:
    assert subjects.reply_user(inbox) == user
    if user:
        assert inbox.startswith(subjects.operator_inbox(user))


def test_direct_get_has_two_forms() -> None:
    assert (
        subjects.direct_get("EDGE_REPORTS", subjects.report("pi-01")) == "edge.api.DIRECT.GET.EDGE_REPORTS.edge.from.pi-01.report"
    )
    assert subjects.direct_get("EDGE_REPORTS", prefix="$JS.API") == "$JS.API.DIRECT.GET.EDGE_REPORTS"


def test_whose_a_subject_is() -> None:
    assert subjects.device_of(subjects.report("pi-01")) == subjects.device_of(subjects.live("pi-01", "report")) == "pi-01"
