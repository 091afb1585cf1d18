"""The moment before which it cannot be, as people's signatures say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.patterns.signedtimes import FILE, WRITE_SECONDS, SignedTimes
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import Signature

NOW = 1_800_000_000


def signature(at: int, key: str = "UA", actions: tuple[str, ...] = ()) -> Signature:
    return Signature(b"", 1, at, "olga", key, "operator", (), actions, NOW - 1000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE


def test_it_rises_and_never_falls(path: Path) -> None:
    times = SignedTimes(path, Pins)
    assert times.floor() == 0
    for at in (NOW, NOW - 50, NOW + 5, NOW + 1):
        times.saw(signature(at))
    assert times.floor() == NOW + 5


def test_it_outlives_the_process_but_for_the_last_minute(path: Path) -> None:
    times = SignedTimes(path, Pins)
    times.saw(signature(NOW))
    written = path.read_bytes()
    times.saw(signature(NOW + WRITE_SECONDS - 1))
    assert path.read_bytes() == written and SignedTimes(path, Pins).floor() == NOW
    times.saw(signature(NOW + WRITE_SECONDS))
    assert SignedTimes(path, Pins).floor() == NOW + WRITE_SECONDS


def test_who_may_do_little_moves_no_clock(path: Path) -> None:
    times = SignedTimes(path, Pins)
    times.saw(signature(NOW, actions=("ping",)))
    assert times.floor() == 0


def test_who_was_revoked_counts_no_longer(path: Path) -> None:
    revoked: dict[str, int] = {}
    times = SignedTimes(path, lambda: Pins(revoked=revoked))
    times.saw(signature(NOW))
    times.saw(signature(NOW + 10**6, "UB"))
    assert times.floor() == NOW + 10**6
    revoked["UB"] = NOW
    assert times.floor() == NOW


def test_so_many_logins_are_remembered_only(path: Path) -> None:
    times = SignedTimes(path, Pins)
    for number in range(100):
        times.saw(signature(NOW + number * WRITE_SECONDS, f"U{number}"))
    assert times.floor() == NOW + 99 * WRITE_SECONDS and path.stat().st_size < 4000


@pytest.mark.parametrize("rubbish", [b"{", b"[]", b"\xff", b'{"UA": {"at": "x"}}'], ids=["cut", "list", "bytes", "type"])
def test_a_damaged_file_is_begun_anew(path: Path, rubbish: bytes) -> None:
    path.write_bytes(rubbish)
    times = SignedTimes(path, Pins)
    times.saw(signature(NOW))
    assert SignedTimes(path, Pins).floor() == NOW
