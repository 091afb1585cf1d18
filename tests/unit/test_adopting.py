"""Which devices are taken into the register because of what they showed, and which are not."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from edgeagent.hub import register
from edgeagent.hub.adopting import Shown, adopted, is_refused, is_replaced, read_shown
from edgeagent.hub.keyring import DEVICE_SECONDS
from edgeagent.hub.owner import Owner
from edgeagent.hub.restored import outlived
from edgeagent.trust.nkeys import KeyPair
from edgeagent.wire import DeviceRecord

NOW = 1_795_000_000
KNOWN = DeviceRecord(
    id="pi-1", groups=["kitchen"], key="UOLD", issued_at=NOW - 100, expires_at=NOW + 900, labels={"site": "berlin"}, added="then"
)


def shown(**more: Any) -> Shown:
    return Shown("pi-1", "UOLD", ["kitchen"], NOW - 100, NOW + 900, "")._replace(**more)


def test_what_the_register_knows_stays() -> None:
    assert adopted(KNOWN, shown(), NOW) is None
    assert adopted(KNOWN, shown(issued_at=NOW - 101, expires_at=NOW + 5000, groups=["attic"]), NOW) is None


def test_one_that_is_not_known_is_taken_in_as_it_was_let_in() -> None:
    made = adopted(None, shown(key="UNEW", groups=["attic", "roof"]), NOW)
    assert made and (made.id, made.key, made.groups) == ("pi-1", "UNEW", ["attic", "roof"])
    assert (made.issued_at, made.expires_at, made.revoked) == (NOW - 100, NOW + 900, False)


def test_newer_credentials_of_the_same_key_count_and_the_older_are_not_forgotten() -> None:
    record = msgspec.structs.replace(KNOWN, older={"UOLD": NOW + 5000})
    made = adopted(record, shown(issued_at=NOW, expires_at=NOW + 1000, groups=["attic"]), NOW)
    assert made and (made.issued_at, made.groups, made.labels) == (NOW, ["attic"], {"site": "berlin"})
    assert register.keys_of(made) == {"UOLD": NOW + 5000}


def test_the_board_that_took_anothers_place_has_it_again() -> None:
    made = adopted(KNOWN, shown(key="UNEW", issued_at=NOW), NOW)
    assert made and (made.key, made.older, made.added) == ("UNEW", {}, "then")


def test_nothing_that_is_kept_out_or_was_replaced_comes_back() -> None:
    assert adopted(msgspec.structs.replace(KNOWN, revoked=True), shown(issued_at=NOW), NOW) is None
    assert adopted(msgspec.structs.replace(KNOWN, refused_until=NOW), shown(issued_at=NOW), NOW) is None
    for key in ("UOLD", "UNEW"):
        assert adopted(KNOWN, shown(key=key, issued_at=NOW - 100), NOW) is None


def test_a_board_that_the_hub_forgot_does_not_outlive_the_devices_revocation() -> None:
    """It was revoked by the keys that the register knew, of which the forgotten board's is none."""
    revoked = msgspec.structs.replace(KNOWN, revoked=True)
    made = adopted(revoked, shown(key="UNEW", issued_at=NOW), NOW)
    assert made and made.revoked and register.keys_of(made) == {"UNEW": NOW + 900} and is_refused(made, shown(key="UNEW"))


def test_a_board_that_the_hub_forgot_does_not_keep_groups_that_were_taken_since() -> None:
    regrouped = msgspec.structs.replace(KNOWN, groups=[], refused_until=NOW + 50)
    board = shown(key="UNEW", issued_at=NOW, groups=["kitchen"])
    made = adopted(regrouped, board, NOW)
    assert made and (made.key, made.groups, made.refused_until) == ("UNEW", [], NOW + 50) and is_refused(made, board)
    later = adopted(regrouped, board._replace(issued_at=NOW + 51), NOW)
    assert later and later.groups == ["kitchen"] and not is_refused(later, board._replace(issued_at=NOW + 51))


def test_a_replaced_board_that_renews_first_at_a_restored_hub_keeps_nobody_out() -> None:
    """The backup knows it alone; the board that took its place since then has a JWT that is older than what it is given now."""
    restored = outlived(msgspec.structs.replace(KNOWN, issued_at=NOW - 500), NOW - 300, NOW)
    assert restored
    renewed = msgspec.structs.replace(restored, issued_at=NOW + 10)
    true = shown(key="UNEW", issued_at=NOW - 200)
    made = adopted(renewed, true, NOW)
    assert made and (made.key, made.older, made.as_of) == ("UNEW", {}, 0) and not is_replaced(renewed, true)
    assert is_replaced(made, shown(issued_at=NOW - 250)), "the one before stays out"
    assert is_replaced(renewed, shown(key="UFIRST", issued_at=NOW - 400))


def test_an_older_board_of_a_revoked_device_is_revoked_with_it() -> None:
    revoked = msgspec.structs.replace(KNOWN, revoked=True)
    made = adopted(revoked, shown(key="UGONE", issued_at=NOW - 200), NOW)
    assert made and made.key == "UOLD" and register.keys_of(made).keys() == {"UOLD", "UGONE"}


def test_a_board_whose_place_another_took_is_known_by_its_key() -> None:
    assert is_replaced(KNOWN, shown(key="UGONE", issued_at=NOW - 200))
    assert not is_replaced(KNOWN, shown(issued_at=NOW - 200)) and not is_replaced(None, shown(key="UGONE"))
    assert not is_replaced(KNOWN, shown(key="UNEW", issued_at=NOW))


def test_what_a_server_says_of_a_device_is_read() -> None:
    owner, key = Owner.create("berlin"), KeyPair.generate("user")
    login = owner.device_credentials("pi-7", ["kitchen", "attic"], key=key)
    event = {"client": {"kind": "Leafnode", "jwt": login.jwt}}
    read = read_shown(json.dumps(event).encode())
    assert read == Shown("pi-7", key.public, ["kitchen", "attic"], login.issued_at, login.expires_at, login.jwt)


@pytest.mark.parametrize(
    "client", [{}, {"kind": "Client"}, {"kind": "Leafnode", "jwt": "x.y.z"}, {"kind": "Leafnode", "jwt": ""}]
)
def test_nobody_else_is_read(client: dict[str, str]) -> None:
    assert read_shown(json.dumps({"client": client}).encode()) is None


def test_a_restored_record_outlives_what_was_issued_since() -> None:
    """Else one that is revoked and forgotten now would come back with the JWT that it renewed after the backup."""
    made = outlived(msgspec.structs.replace(KNOWN, older={"UFIRST": NOW - 5, "UEVER": 0}), NOW - 50, NOW)
    assert made and register.keys_of(made) == {"UOLD": NOW + DEVICE_SECONDS, "UFIRST": NOW + DEVICE_SECONDS, "UEVER": 0}
    assert (made.expires_at, made.issued_at) == (KNOWN.expires_at, KNOWN.issued_at)
    assert outlived(made, NOW - 50, NOW) is None and made.as_of == NOW - 50
