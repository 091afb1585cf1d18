from __future__ import annotations

from typing import Any

import pytest

from edgeagent.assembly.renewal import LINK_SECONDS, Situation, Step, decide, is_outdated, renew_at
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.wire import DeviceRecord

NOW = 1_800_000_000
DAY = 86_400


def login(life: int | None, name: str = "pi-1", groups: tuple[str, ...] = ()) -> Credentials:
    role, user = KeyPair.generate("account"), KeyPair.generate("user")
    token = jwt.scoped_user(
        role,
        subject=user.public,
        name=name,
        account=role.public,
        issued_at=NOW,
        expires_at=None if life is None else NOW + life,
        tags=[f"group:{group}" for group in groups],
    )
    return Credentials(token, user.seed)


def seen(**known: Any) -> Situation:
    return Situation(**{"now": NOW, "renew_at": NOW + 60 * DAY, "expires_at": NOW + 90 * DAY, **known})


LINKED = {"linked": True}
#: The leaf was started a while ago and did not link, though the hub's address takes connections.
DOUBTED = {"unlinked_for": 100.0, "reachable_for": 1.0, "redialled": True}


@pytest.mark.parametrize(
    ("known", "step"),
    [
        # Linked: over the link, when it is time.
        (LINKED, Step.WAIT),
        ({**LINKED, "now": NOW + 61 * DAY}, Step.ASK),
        ({**LINKED, "now": NOW + 91 * DAY}, Step.ASK),
        ({**LINKED, "wanted": True}, Step.ASK),
        ({**LINKED, "wanted": True, "ask_in": 5.0}, Step.WAIT),
        ({**LINKED, "wanted": True, "visit_in": 5.0}, Step.ASK),
        ({**LINKED, "renew_at": None, "expires_at": None}, Step.WAIT),
        ({**LINKED, "refused": True}, Step.WAIT),
        ({**LINKED, "can_visit": False, "wanted": True}, Step.ASK),
        # Not linked, and there is a reason.
        ({"now": NOW + 90 * DAY}, Step.VISIT),
        ({"refused": True}, Step.VISIT),
        ({"missing": True, "renew_at": None, "expires_at": None}, Step.VISIT),
        ({"refused": True, "visit_in": 1.0}, Step.WAIT),
        ({"refused": True, "ask_in": 1.0}, Step.VISIT),
        ({"refused": True, "can_visit": False}, Step.WAIT),
        # Not linked, and none is known.
        ({}, Step.WAIT),
        ({"wanted": True}, Step.WAIT),
        ({"unlinked_for": 9999.0}, Step.WAIT),
        ({"unlinked_for": 4.0, "reachable_for": 0.0}, Step.REDIAL),
        (DOUBTED, Step.WAIT),
        ({**DOUBTED, "reachable_for": 21.9}, Step.WAIT),
        ({**DOUBTED, "reachable_for": 22.0}, Step.VISIT),
        ({**DOUBTED, "reachable_for": 22.0, "visit_in": 1.0}, Step.WAIT),
        ({**DOUBTED, "reachable_for": 22.0, "can_visit": False}, Step.WAIT),
        ({**DOUBTED, "reachable_for": 5.0, "reconnect_seconds": 1.0}, Step.VISIT),
    ],
)
def test_what_is_done(known: dict[str, Any], step: Step) -> None:
    assert decide(seen(**known))[0] is step


@pytest.mark.parametrize(
    ("known", "pause"),
    [
        (LINKED, 60.0),
        ({**LINKED, "now": NOW + 60 * DAY - 5}, 5.0),
        ({**LINKED, "wanted": True, "ask_in": 7.0}, 7.0),
        ({}, LINK_SECONDS),
        ({"unlinked_for": LINK_SECONDS - 1}, 1.0),
        ({"refused": True, "visit_in": 9.0}, 9.0),
        ({"refused": True, "visit_in": 900.0}, 60.0),
    ],
)
def test_how_long_it_may_sleep(known: dict[str, Any], pause: float) -> None:
    assert decide(seen(**known)) == (Step.WAIT, pause)


def test_no_situation_makes_it_spin() -> None:
    """Every wait is long enough that an idle agent costs nothing."""
    flags = ("linked", "refused", "redialled", "can_visit", "wanted", "missing")
    spans = (0.0, 0.001, LINK_SECONDS, 1e6)
    for bits in range(2 ** len(flags)):
        known = {flag: bool(bits >> place & 1) for place, flag in enumerate(flags)}
        for unlinked_for in spans:
            for reachable_for in (None, *spans):
                step, pause = decide(seen(**known, unlinked_for=unlinked_for, reachable_for=reachable_for))
                assert step is not Step.WAIT or pause >= 0.05, known


def test_two_thirds_of_its_life_and_not_all_at_once() -> None:
    moments = [renew_at(login(90 * DAY)) for _ in range(50)]
    parts = [(moment - NOW) / (90 * DAY) for moment in moments if moment is not None]
    assert len(parts) == 50 and 0.6 < min(parts) < 0.65 < 0.68 < max(parts) < 0.73
    assert renew_at(login(None)) is None
    one = login(90 * DAY)
    assert renew_at(one) == renew_at(one), "the same after every start"


@pytest.mark.parametrize(
    ("record", "outdated"),
    [
        (DeviceRecord(id="pi-1", groups=["berlin"]), False),
        (DeviceRecord(id="pi-1", groups=["munich"]), True),
        (DeviceRecord(id="pi-1"), True),
        (DeviceRecord(id="pi-1", groups=["berlin"], refused_until=NOW), True),
        (DeviceRecord(id="pi-1", groups=["berlin"], refused_until=NOW - 1), False),
        (DeviceRecord(id="pi-1", groups=["munich"], revoked=True), False),
    ],
)
def test_whether_the_hubs_record_asks_for_another(record: DeviceRecord, outdated: bool) -> None:
    assert is_outdated(login(DAY, groups=("berlin",)), record) is outdated
