"""When the leaf's own certificate for MQTT is made anew, and by whom it is signed."""

from __future__ import annotations

import socket
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edgeagent.errors import Failed
from edgeagent.leaf.mqtttls import Issued, OwnTls, due, names, stamp
from edgeagent.trust import certificates
from edgeagent.trust.validity import START

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (None, "there was none"),
        (Issued(["a"], NOW + timedelta(days=29)), "the old one ends"),
        (Issued(["a"], NOW + timedelta(days=31)), "does not name b"),
        (Issued(["a", "b", "c"], NOW + timedelta(days=31)), ""),
    ],
    ids=["none", "ends", "another name", "good"],
)
def test_it_is_due(made: Issued | None, why: str) -> None:
    assert why in due(made, ["a", "b"], NOW) and bool(why) == bool(due(made, ["a", "b"], NOW))


def test_it_names_the_machine_and_what_was_asked_for() -> None:
    found = names(["Pi.Example", "10.9.8.7", "::"])
    assert {"localhost", "127.0.0.1", socket.gethostname().lower(), "pi.example", "10.9.8.7"} <= {*found}
    assert not any(name.startswith("fe80") for name in found)


def test_one_authority_signs_all_of_them_valid_since_2020_and_readable_by_the_agent_only(tmp_path: Path) -> None:
    own = OwnTls(tmp_path)
    assert own.ensure([], NOW) == "there was none" and own.ensure([], NOW) == ""
    ca, first = own.ca.read_bytes(), own.server.read_bytes()
    assert "later.example" in own.ensure(["later.example"], NOW)
    assert own.ensure([], NOW + timedelta(days=340)) == "the old one ends"
    assert own.ca.read_bytes() == ca and own.server.read_bytes() != first
    found = certificates.read(own.server.read_bytes())
    assert found.begins == START and found.issuer == certificates.read(ca).subject
    assert NOW + timedelta(days=640) < found.ends < NOW + timedelta(days=740)
    assert {path.stat().st_mode & 0o777 for path in own.folder.iterdir()} == {0o600}
    assert own.folder.stat().st_mode & 0o777 == 0o700


def test_a_device_that_does_not_know_the_time_makes_another_when_it_does(tmp_path: Path) -> None:
    own = OwnTls(tmp_path)
    own.ensure([], datetime(1970, 1, 1, tzinfo=timezone.utc))
    assert own.ensure([], NOW) == "the old one ends"


def test_a_damaged_authority_is_named_with_the_remedy(tmp_path: Path) -> None:
    own = OwnTls(tmp_path)
    own.ensure([], NOW)
    own.authority.write_text("no PEM")
    with pytest.raises(Failed, match=r"authority\.pem"):
        own.ensure(["x"], NOW)


def test_the_stamp_changes_with_what_is_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("1")
    before = stamp(file)
    file.write_text("2")
    assert stamp(file) != before
