from __future__ import annotations

import itertools

import pytest

from edgeagent.cel.semver import precedence_key

#: semver.org 2.0.0, section 11, then what lies around it.
RISING = [
    "0.0.0-alpha",
    "0.0.0",
    "0.9.10",
    "1.0.0-0.dev",
    "1.0.0-1",
    "1.0.0-2",
    "1.0.0-11",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.0.1",
    "1.0.1",
    "1.9.0",
    "1.10.0.dev3",
    "1.10.0a2",
    "1.10.0a11",
    "1.10.0b1",
    "1.10.0~rc1",
    "1.10.0",
    "1.10.0.7",
    "2.15",
    "10.0.0",
    "2024.1.15",
    "99999999999999999999.0.0",
]
EQUAL = [
    ("v1.2.3", "1.2.3"),
    ("2.15", "2.15.0"),
    ("2", "2.0.0"),
    ("1.2.3+build.5", "1.2.3+other"),
    ("6.6.51+rpt-rpi-v8", "6.6.51"),
    ("1:1.22.1", "1.22.1"),
    ("1.0.0rc1", "1.0.0-rc.1"),
    ("2024.01.05", "2024.1.5"),
    (" 1.2.3\n", "1.2.3"),
]


def test_precedence() -> None:
    keys = [precedence_key(version) for version in RISING]
    wrong = [(RISING[low], RISING[high]) for low, high in itertools.combinations(range(len(keys)), 2) if keys[low] >= keys[high]]
    assert wrong == []


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_precedence(one: str, other: str) -> None:
    assert precedence_key(one) == precedence_key(other)


@pytest.mark.parametrize(
    "version", ["", "v", "latest", "1.", "1..2", "1.2.3-", "1.2.3-a..b", "9.2p1", "-1", "1.x", "1" * 200, 2.15, None]
)
def test_what_is_no_version(version: object) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        precedence_key(version)
