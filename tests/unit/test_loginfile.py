from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edgeagent.errors import Refused
from edgeagent.hub.loginfile import check_replaceable, written
from edgeagent.hub.owner import Owner


@pytest.fixture(scope="module")
def keyring() -> Owner:
    return Owner.create("hub")


@pytest.mark.parametrize("before", [None, "the older ones"])
def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path, keyring: Owner, before: str | None) -> None:
    target, login = tmp_path / "pi-01.creds", keyring.device_credentials("pi-01")
    if before is not None:
        target.write_text(before)
    with pytest.raises(RuntimeError), written(target, login):
        assert target.read_text() == login.format() and stat.S_IMODE(target.stat().st_mode) == 0o600
        raise RuntimeError
    assert (target.read_text() if target.exists() else None) == before


def test_a_success_leaves_the_new_ones(tmp_path: Path, keyring: Owner) -> None:
    target, login = tmp_path / "pi-01.creds", keyring.device_credentials("pi-01")
    with written(target, login):
        pass
    assert target.read_text() == login.format()


def test_only_older_credentials_of_the_same_user_may_be_replaced(tmp_path: Path, keyring: Owner) -> None:
    target, login = tmp_path / "olga.creds", keyring.operator_credentials("olga", "viewer")
    check_replaceable(target, login)  # nothing is there
    target.write_text(keyring.operator_credentials("olga", "admin").format())
    check_replaceable(target, login)
    others = [keyring.operator_credentials("eve", "viewer").format(), keyring.device_credentials("olga").format()]
    elsewhere = Owner.create("hub").operator_credentials("olga", "viewer").format()
    for text in (*others, elsewhere, "notes", ""):
        target.write_text(text)
        with pytest.raises(Refused, match="does not hold older credentials of olga"):
            check_replaceable(target, login)
