"""What the next document builds upon when the hub went back, was wiped or broken into, and when devices lie."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from edgeagent import wire
from edgeagent.config import nested
from edgeagent.errors import Refused
from edgeagent.fleet.configground import Followed, Ground, ground_of, is_lost
from edgeagent.fleet.configlost import in_force, names, still_lost
from edgeagent.fleet.configversion import Version, marked_revoked
from edgeagent.fleet.configwish import Wish, Written
from edgeagent.fleet.states import Known
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.wire import ConfigState, ScopeState

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)
T = int(NOW.timestamp() * 1000)
LATEST = T + 300_000
DAY = 86_400_000
BERLIN, PI_01 = Scope.group("berlin"), Scope.device("pi-01")


def version(
    revision: int,
    generation: int,
    *,
    scope: Scope = FLEET_ALL,
    by: str = "olga",
    problem: str = "",
    key: str = "",
    issued: int = 0,
    **values: Any,
) -> Version:
    return Version(
        scope=scope,
        revision=revision,
        time=NOW,
        generation=generation,
        by=by,
        values=nested(values),
        problem=problem,
        key=key,
        issued=issued,
    )


def device(
    name: str,
    applied: int,
    *,
    scope: Scope = FLEET_ALL,
    left_out: bool = False,
    more: dict[str, int] | None = None,
    **values: Any,
) -> Known:
    scopes = {str(scope): ScopeState(applied, applied), **{key: ScopeState(said, said) for key, said in (more or {}).items()}}
    config = ConfigState(scopes=scopes, values=values, left_out=left_out)
    record = wire.DeviceRecord(id=name, groups=["berlin"])
    return Known(name, record=record, report=wire.Report(id=name, facts={}, config=config))


def ground(base: Version, *members: Known, past: tuple[Version, ...] = (), others: tuple[Version, ...] = ()) -> Ground:
    followed = Followed.of(base.scope, members, [*past, base], latest=LATEST)
    return ground_of(base, past, followed, members, {item.scope: item for item in (base, *others)})


def edited(found: Ground, *, force: bool = False) -> dict[str, Any]:
    return dict(found.values(force=force))


A, B, C = version(1, T - 90_000, **{"app.x": 1}), version(2, T - 60_000, **{"app.x": 2, "app.y": 3}), version(3, T - 30_000)
WIPED = Version(scope=FLEET_ALL)


def test_what_everybody_follows_is_built_upon() -> None:
    for members in ((), (device("pi-01", B.generation),), (device("pi-01", A.generation), device("pi-02", 0))):
        found = ground(B, *members)
        assert (found.source, found.floor, found.again, found.warnings, found.refusal) == (B, B.generation, False, (), "")
        assert edited(found) == {"app": {"x": 2, "y": 3}} and found.before == {"app.x": 2, "app.y": 3}


def test_an_older_document_shown_again_takes_nothing_from_the_newer_one() -> None:
    replayed = version(3, A.generation, **{"app.x": 1})
    found = ground(replayed, device("pi-01", B.generation), past=(A, B))
    assert edited(found) == {"app": {"x": 2, "y": 3}} and found.base is replayed
    assert found.again and found.floor == B.generation
    assert (
        "revision 2 (olga, 20" in found.warnings[0]
        and "pi-01 says to follow it, while the hub shows revision 3" in found.warnings[0]
    )


def test_what_is_newer_than_what_devices_follow_is_named() -> None:
    found = ground(version(4, A.generation), device("pi-01", B.generation), past=(A, B, C))
    assert found.source is B and any(
        "revision 3 (olga" in warning and "no device follows it" in warning for warning in found.warnings
    )
    assert found.floor == C.generation


def test_the_same_where_only_a_mark_of_deletion_is_left() -> None:
    gone = Version(scope=FLEET_ALL, revision=3, deleted=True)
    assert edited(ground(gone, device("pi-01", B.generation), past=(A, B))) == {"app": {"x": 2, "y": 3}}
    nobody = ground(gone, past=(A, B))
    assert edited(nobody) == {} and nobody.floor == B.generation and nobody.before == {}


@pytest.mark.parametrize("base", [A, WIPED], ids=["restored", "wiped"])
def test_what_the_hub_lost_is_shown_as_devices_say_it(base: Version) -> None:
    members = [device(f"pi-0{n}", B.generation, **{"app.x": 2, "app.y": 3}) for n in (1, 2, 3)]
    found = ground(base, *members)
    assert edited(found) == dict(base.values), "a device's word is shown, and never signed"
    assert found.before == {"app.x": 2, "app.y": 3} and found.again and found.floor == B.generation
    assert "pi-01, pi-02 and pi-03 say to follow a document of fleet.all (signed 20" in found.warnings[0]
    assert "the hub has lost; this one replaces it" in found.warnings[0]


def test_what_other_documents_explain_is_not_lost() -> None:
    known = device("pi-01", B.generation, more={"group.berlin": T}, **{"app.x": 2, "app.of.berlin": 1})
    berlin = version(7, T, scope=BERLIN, **{"app.of.berlin": 1})
    assert ground(WIPED, known, others=(berlin,)).before == {"app.x": 2}
    everything = ground(WIPED, known)
    assert everything.before == {"app.x": 2, "app.of.berlin": 1}
    assert "some of it may be of group.berlin, lost too" in everything.warnings[0]
    changed = version(7, T, scope=BERLIN, **{"app.of.berlin": 5})
    assert in_force(FLEET_ALL, [known], {BERLIN: changed}) == {"app.x": 2, "app.of.berlin": 1}


def test_a_device_that_could_not_say_is_named() -> None:
    assert "pi-01: too much to be reported" in still_lost(FLEET_ALL, [device("pi-01", T, left_out=True)], {})
    assert [names(["a"]), names(["a", "b"]), names(list("abc")), names(list("abcd"))] == [
        "a",
        "a and b",
        "a, b and c",
        "a and 3 others",
    ]


# ---- who lies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [1 << 62, LATEST + 1])
def test_a_device_that_claims_the_future_makes_nobody_write_anything(said: int) -> None:
    found = ground(B, device("pi-01", B.generation), device("pi-02", said), past=(A,))
    assert not found.again and found.floor == B.generation and edited(found) == {"app": {"x": 2, "y": 3}}
    (warning,) = found.warnings
    assert warning.startswith("pi-02 says that it follows a newer one (")


def test_a_strangers_document_for_the_future_is_neither_built_upon_nor_exceeded() -> None:
    stranger = version(3, T + 30 * DAY, by="mallory", **{"app.evil": 1})
    found = ground(stranger, device("pi-01", B.generation), past=(A, B))
    assert found.floor == B.generation and found.again
    with pytest.raises(Refused, match=r"signed by mallory, is dated 20.*ahead of this machine's clock, and no device says"):
        edited(found)
    assert edited(found, force=True) == {} and found.before == {"app.x": 2, "app.y": 3}
    assert any("it is not built upon" in warning for warning in found.warnings)


def test_what_an_operator_with_a_wrong_clock_signed_counts_once_a_device_follows_it() -> None:
    tomorrow = version(3, T + DAY, by="paul", **{"app.z": 1})
    found = ground(tomorrow, device("pi-01", T + DAY), device("pi-02", B.generation), past=(A, B))
    assert (found.floor, found.floor_of, found.refusal) == (T + DAY, "by paul", "") and edited(found) == {"app": {"z": 1}}
    replayed = version(4, B.generation, **{"app.x": 2})
    again = ground(replayed, device("pi-01", T + DAY), past=(A, B, tomorrow))
    assert again.source is tomorrow and again.floor == T + DAY


def test_whose_login_was_revoked_signed_for_no_future() -> None:
    ahead = version(3, T + DAY, by="thief", key="UTHIEF", issued=1000, **{"app.evil": 1})
    spared, revoked = marked_revoked([ahead], {"UTHIEF": 999}), marked_revoked([ahead], {"UTHIEF": 1000})
    assert [item.revoked for item in (*spared, *revoked)] == [False, True]
    found = ground(revoked[0], device("pi-01", T + DAY), past=(A, B))
    assert found.floor == B.generation and found.again and found.before == {"app.x": 2, "app.y": 3}
    assert not any("pi-01 says" in warning for warning in found.warnings), "it will follow what comes next"
    with pytest.raises(Refused, match="that login was revoked since"):
        edited(found)
    assert not Followed(said={}, latest=LATEST).agrees(spared[0]), "so that somebody asks who was revoked"


def test_what_nobody_signed_is_replaced_and_never_built_upon() -> None:
    forged = version(3, T - 1000, by="", problem="nobody signed it like this")
    found = ground(forged, device("pi-01", B.generation), past=(A, B))
    with pytest.raises(Refused, match="nobody signed it like this"):
        edited(found)
    assert found.again and found.floor == B.generation and found.before == {"app.x": 2, "app.y": 3}
    assert edited(found, force=True) == {} and "counts for nothing: nobody signed" in found.warnings[0]
    assert ground(forged).floor == 0 and ground(forged, past=(A,)).before == {"app.x": 1}


def test_only_what_the_hub_does_not_have_is_lost() -> None:
    said = Followed(said={"pi-01": B.generation}, latest=LATEST, kept=frozenset({A.generation, B.generation}))
    assert is_lost(A, (), said) and not is_lost(A, (B,), said) and not is_lost(B, (), said) and not is_lost(C, (), said)
    assert said.agrees(B) and said.agrees(C) and not said.agrees(A) and not said.agrees(WIPED)


# ---- the wish --------------------------------------------------------------------------------------------------------------


def test_a_wish_for_the_whole_needs_nothing_to_build_upon() -> None:
    forged = ground(version(3, T, problem="rubbish"))
    assert Wish(scope=PI_01, edit=lambda before: {"had": dict(before)}, whole=True).after(forged) == {"had": {}}
    with pytest.raises(Refused, match="rubbish"):
        Wish(scope=PI_01, edit=dict).after(forged)
    with pytest.raises(Refused, match="the newest is revision 2 by olga, not 1"):
        Wish(scope=FLEET_ALL, edit=dict, revision=1).check_revision(B)


def test_warnings_are_in_the_json() -> None:
    made = Written(
        scope=PI_01, revision=1, generation=2, changes={}, written=True, devices=2, present=("a", "b"), warnings=("x",)
    )
    assert made.online == 2 and made.as_dict()["warnings"] == ["x"]


def test_who_refused_the_one_before_is_named() -> None:
    """Only devices know whose signature counts; what is built upon is signed anew, and then they follow it."""
    base = version(3, T, by="mallory")

    def says(name: str, desired: int, applied: int, error: str) -> Known:
        state = ConfigState(scopes={str(FLEET_ALL): ScopeState(desired=desired, applied=applied, error=error)})
        return Known(id=name, report=wire.Report(id=name, facts={}, config=state))

    members = [
        says("pi-01", T, T - 5, "its signer is not known here"),
        says("pi-02", T, T - 5, "its signer is not known here"),
        says("pi-03", T, T, "it is followed, but not kept"),
        says("pi-04", T - 5, T - 9, "of an older one"),
        says("pi-05", T - 5, T - 5, ""),
    ]
    followed = Followed.of(FLEET_ALL, members, [base], latest=LATEST)
    found = ground_of(base, [], followed, members, {})
    assert found.warnings == (
        "pi-01 and pi-02 do not follow revision 3 (mallory), the one before this: its signer is not known here",
    )
