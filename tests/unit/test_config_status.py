"""Who follows what: every way in which a device may stand to what the hub has, and what is shown of it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from edgeagent import wire
from edgeagent.config import nested
from edgeagent.errors import UsageProblem
from edgeagent.fleet.configscope import admitted, check_exists, check_own, members
from edgeagent.fleet.configstatus import DeviceConfig, Effective, effective, progress_of, status_of
from edgeagent.fleet.configversion import Version
from edgeagent.fleet.roster import Roster
from edgeagent.fleet.states import Known, State
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.times import rfc3339
from edgeagent.wire import ConfigState, ScopeState

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)
BERLIN, KITCHEN, OWN = Scope.group("berlin"), Scope.group("kitchen"), Scope.device("pi-01")
T = int(NOW.timestamp() * 1000) - 100_000


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def known(config: ConfigState | None = None, *, device: str = "pi-01", heard: float | None = 1, reported: bool = True) -> Known:
    record = wire.DeviceRecord(id=device, groups=["berlin", "kitchen"])
    report = wire.Report(id=device, facts={}, config=config) if reported else None
    found = Known(device, record=record, report=report)
    return found if heard is None else found.heard_at(ago(heard), 60)


def version(scope: Scope, generation: int, *, stored: float = 10, problem: str = "", **values: Any) -> Version:
    return Version(scope=scope, revision=1, generation=generation, time=ago(stored), values=nested(values), problem=problem)


def row(config: ConfigState | None, *versions: Version, only: Scope | None = None, **device: Any) -> DeviceConfig:
    documents: dict[Scope, list[Version]] = {}
    for item in versions:
        documents.setdefault(item.scope, []).append(item)
    return status_of(known(config, **device), documents, NOW, only=only)


def said(**scopes: tuple[int, int] | tuple[int, int, str]) -> ConfigState:
    """desired, applied and error by scope, ``fleet_all`` for ``fleet.all``."""
    return ConfigState(scopes={name.replace("_", ".", 1): ScopeState(*state) for name, state in scopes.items()})


def test_no_documents_and_nothing_said() -> None:
    found = row(ConfigState())
    assert (found.desired, found.applied, found.error, found.since, found.scopes) == (0, 0, "", None, [])
    assert found.as_dict() == {
        "id": "pi-01",
        "state": "online",
        "desired": 0,
        "applied": 0,
        "error": None,
        "since": None,
        "scopes": {},
        "restart": [],
    }


def test_all_applied_is_the_newest_of_the_scopes() -> None:
    found = row(said(fleet_all=(T, T), group_berlin=(T + 5, T + 5)), version(FLEET_ALL, T), version(BERLIN, T + 5))
    assert (found.desired, found.applied, found.since, found.error) == (T + 5, T + 5, None, "")


def test_who_lags_says_which_generation_it_follows_and_since_when() -> None:
    history = [version(BERLIN, T, stored=90), version(BERLIN, T + 5, stored=60), version(BERLIN, T + 9, stored=30)]
    found = row(said(fleet_all=(T + 20, T + 20), group_berlin=(T, T)), version(FLEET_ALL, T + 20), *history)
    assert (found.desired, found.applied) == (T + 20, T)
    assert found.since == ago(60), "the oldest document that it does not follow"
    assert found.as_dict()["since"] == rfc3339(ago(60))
    assert found.as_dict()["scopes"]["group.berlin"] == {"desired": T + 9, "applied": T, "error": None, "ignored": []}


def test_a_document_that_it_never_heard_of_counts_too() -> None:
    found = row(said(), version(OWN, T, stored=7))
    assert (found.desired, found.applied, found.since) == (T, 0, ago(7))


@pytest.mark.parametrize("reported", [True, False], ids=["older-agent", "never-reported"])
def test_who_never_said_is_not_known(reported: bool) -> None:
    found = row(None, version(FLEET_ALL, T), reported=reported)
    assert (found.desired, found.applied, found.since, found.error) == (T, None, None, "")


def test_a_device_says_why_it_does_not_follow() -> None:
    found = row(said(fleet_all=(T + 5, T, "its signer is not known here")), version(FLEET_ALL, T + 5))
    assert (found.applied, found.error) == (T, "its signer is not known here")
    assert found.scopes[0].failed


def test_what_it_said_of_an_older_document_is_no_failure_of_this_one() -> None:
    found = row(said(fleet_all=(T + 5, T, "no")), version(FLEET_ALL, T + 9))
    assert found.error == "no" and not found.scopes[0].failed


def test_the_hub_went_back() -> None:
    found = row(said(fleet_all=(T, T + 60_000, "as the device says it")), version(FLEET_ALL, T))
    assert (found.desired, found.applied) == (T, T + 60_000) and found.scopes[0].failed
    assert found.error.startswith("the hub has an older configuration of fleet.all (") and "set it again" in found.error


def test_the_hub_was_wiped() -> None:
    gone = Version(scope=FLEET_ALL, revision=9, time=ago(3), deleted=True)
    for versions in ([], [gone]):
        found = row(said(fleet_all=(0, T)), *versions)
        assert (found.desired, found.applied) == (0, T)
        assert "has no configuration of fleet.all any more" in found.error and "set it again" in found.error


def test_rubbish_at_the_hub_is_named_even_if_the_device_has_not_seen_it() -> None:
    found = row(said(), version(FLEET_ALL, 0, problem="it is no signed document"))
    assert "what the hub has for fleet.all is no configuration: it is no signed document" in found.error


def test_one_scope_alone_can_be_looked_at() -> None:
    found = row(said(fleet_all=(T, 0, "no"), group_berlin=(T, T)), version(FLEET_ALL, T), version(BERLIN, T), only=BERLIN)
    assert (found.applied, found.desired, found.error) == (T, T, "")


def test_everybody_is_sorted_out() -> None:
    document = version(FLEET_ALL, T)
    rows = {
        "done": row(said(fleet_all=(T, T)), document),
        "waiting": row(said(), document),
        "older": row(None, document),
        "failed": row(said(fleet_all=(T, 0, "no")), document),
        "kept not": row(said(fleet_all=(T, T, "it is followed, but not kept")), document),
        "away": row(said(), document, heard=9999),
        "never seen": row(None, document, heard=None, reported=False),
    }
    found = progress_of(rows.values())
    assert found.done == [rows["done"]] and found.waiting == [rows["waiting"], rows["older"]]
    assert found.failed == [rows["failed"], rows["kept not"]] and found.away == [rows["away"], rows["never seen"]]
    assert [away.state for away in found.away] == [State.OFFLINE, State.NEVER_SEEN]


def awaited(config: ConfigState | None, **device: Any) -> DeviceConfig:
    return status_of(known(config, **device), {}, NOW, only=FLEET_ALL, awaited=T)


def test_who_waits_for_a_generation_does_not_ask_what_a_lagging_server_shows() -> None:
    assert awaited(said()).lagging and awaited(None).lagging and awaited(said(fleet_all=(T - 9, T - 9))).lagging
    for done in (
        said(fleet_all=(T, T)),
        said(fleet_all=(T + 5, T + 5)),
        said(fleet_all=(T + 5, T, "later")),
        said(fleet_all=(T + 9, T + 5, "later")),
    ):
        assert not awaited(done).lagging and not awaited(done).scopes[0].failed
    for refused in (said(fleet_all=(T, T - 9, "no")), said(fleet_all=(T + 5, T - 9, "no")), said(fleet_all=(T, T, "not kept"))):
        assert progress_of([awaited(refused)]).failed and not progress_of([awaited(refused)]).done
    assert not awaited(said(fleet_all=(T - 9, T - 99, "of an earlier one"))).scopes[0].failed


def test_whom_the_change_took_away_is_still_waited_for() -> None:
    away, done_before = awaited(said(), heard=9999), awaited(said(fleet_all=(T, T)), heard=9999)
    assert progress_of([away], ["pi-01"]).waiting == [away] and progress_of([away], ["pi-02"]).away == [away]
    assert progress_of([done_before], ["pi-01"]).away == [done_before], "it applied it before it left"
    shut_out = Known("pi-01", record=wire.DeviceRecord(id="pi-01", revoked=True))
    row = status_of(shut_out, {}, NOW, only=FLEET_ALL, awaited=T)
    assert progress_of([row], ["pi-01"]).away == [row], "a person took it away, not the change"


# ---- effective -------------------------------------------------------------------------------------------------------------


def values(config: ConfigState | None, *versions: Version) -> dict[str, Effective]:
    return {item.name: item for item in effective(known(config), {item.scope: item for item in versions})}


def test_a_profile_that_nobody_set_is_the_one_that_counts() -> None:
    found = values(ConfigState())["agent.profile"]
    assert found.value == found.applied == "normal" and found.layer == "default"


def test_each_layer_goes_before_the_one_in_front_of_it() -> None:
    key = "app.doors.open"
    layers = [version(scope, T, **{key: str(scope)}) for scope in (FLEET_ALL, BERLIN, KITCHEN, OWN)]
    for count, layer in enumerate(["fleet.all", "group.berlin", "group.kitchen", "device.pi-01"], 1):
        found = values(ConfigState(), *layers[:count])[key]
        assert (found.value, found.layer) == (str(layers[count - 1].scope), layer)


def test_applied_is_what_the_device_says() -> None:
    said = ConfigState(
        values={"agent.micro": False, "app.old.x": 1, "leaf.ping_seconds": 44.0},
        settings={"agent.micro": True, "agent.log_level": "debug"},
        restart=["leaf.ping_seconds"],
    )
    found = values(said, version(FLEET_ALL, T, **{"agent.micro": True, "leaf.ping_seconds": 44}))
    assert found["agent.micro"].as_dict() == {"value": True, "layer": "fleet.all", "applied": False, "restart": False}
    assert found["agent.log_level"].as_dict() == {"value": "debug", "layer": "agent.toml", "applied": "debug", "restart": False}
    assert found["leaf.ping_seconds"].restart
    assert found["app.old.x"].as_dict() == {"value": None, "layer": None, "applied": 1, "restart": False}
    assert found["query.burst"].as_dict() == {"value": 100, "layer": "default", "applied": 100, "restart": False}


def test_who_has_not_said_has_nothing_applied() -> None:
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    contradictory = ConfigState(settings={"agent.x": 1, "agent.x.y": 2})
    for config in (None, ConfigState(left_out=True), ConfigState(values={"app.x.y": deep})):
        found = values(config, version(FLEET_ALL, T, **{"agent.micro": False}))
        assert (found["agent.micro"].value, found["agent.micro"].applied, found["query.burst"].applied) == (False, None, None)
    assert values(contradictory)["query.burst"].value == 100


# ---- scopes ----------------------------------------------------------------------------------------------------------------

REVOKED = Known("pi-03", record=wire.DeviceRecord(id="pi-03", groups=["berlin"], revoked=True))
#: In no register: the hub lost its store, and the device goes on.
LOST = Known("pi-04", report=wire.Report(id="pi-04", facts={"groups": ["berlin"]}))
ROSTER = Roster(NOW, {item.id: item for item in (known(device="pi-02"), known(), REVOKED, LOST)})


def test_whom_a_scope_is_for() -> None:
    assert [item.id for item in admitted(ROSTER)] == ["pi-01", "pi-02", "pi-04"]
    assert members(ROSTER, FLEET_ALL) == admitted(ROSTER) == members(ROSTER, BERLIN)
    assert [item.id for item in members(ROSTER, OWN)] == ["pi-01"] and members(ROSTER, Scope.group("paris")) == []


def test_a_scope_must_be_there() -> None:
    for scope in (FLEET_ALL, BERLIN, OWN, Scope.device("pi-03"), Scope.device("pi-04")):
        check_exists(ROSTER, scope)
    check_exists(ROSTER, Scope.group("paris"), own=["paris"])
    for scope, near in ((Scope.group("berln"), "'berlin'"), (Scope.device("pi-05"), "'pi-0"), (Scope.device("x"), "device ls")):
        with pytest.raises(UsageProblem, match=f"{near}.*--force"):
            check_exists(ROSTER, scope)


def test_a_login_may_be_limited_to_groups() -> None:
    check_own(FLEET_ALL, ())
    check_own(BERLIN, ("berlin", "munich"))
    for scope in (FLEET_ALL, KITCHEN, OWN):
        with pytest.raises(UsageProblem, match="limited to the groups berlin"):
            check_own(scope, ("berlin",))
