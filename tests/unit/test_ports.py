"""Ports that are picked before anybody listens there."""

from __future__ import annotations

import socket
from collections import deque

import pytest

from edgeagent.natsserver import ports


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """The only ports below the kernel's own."""
    first = next(port for port in range(32_000, 32_700, 2) if ports.is_free(port) and ports.is_free(port + 1))
    monkeypatch.setattr(ports, "BELOW_EPHEMERAL", (first, first + 1))
    monkeypatch.setattr(ports, "_picked", deque())
    return first, first + 1


def test_none_is_picked_twice_before_anybody_listens_there(two: tuple[int, int]) -> None:
    assert {ports.pick(), ports.pick()} == set(two)
    assert ports.pick() not in two


def test_one_that_another_has_is_not_picked(two: tuple[int, int]) -> None:
    with socket.create_server((ports.HOST, two[0])):
        assert ports.pick() == two[1]
