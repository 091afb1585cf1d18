"""How many devices a server sends elsewhere: few, late, and only when all servers are well."""

from __future__ import annotations

import pytest

from edgeagent.hub.balance import HOLD_SECONDS, Balance, Server, surplus

LONG = HOLD_SECONDS * 10


def well(*leafs: int, uptime: float = LONG) -> dict[str, Server]:
    return {f"s{number}": Server(count, uptime, True) for number, count in enumerate(leafs, 1)}


def moved(servers: dict[str, Server], own: str = "s1") -> int:
    """In the first round in which any may be."""
    balance = Balance(own, 3)
    assert balance.to_move(servers, 0) == 0 == balance.to_move(servers, HOLD_SECONDS - 1)
    return balance.to_move(servers, HOLD_SECONDS)


@pytest.mark.parametrize(
    ("leafs", "more"),
    [
        ((10, 10, 0), 3),
        ((3, 1, 1), 0),
        ((4, 1, 1), 2),
        ((0, 10, 10), 0),
        ((7, 7, 6), 0),
        ((1050, 1000, 950), 0),
        ((1200, 900, 900), 200),
    ],
)
def test_clearly_too_many(leafs: tuple[int, ...], more: int) -> None:
    assert surplus({f"s{number}": count for number, count in enumerate(leafs, 1)}, "s1") == more


def test_a_few_in_each_round() -> None:
    assert moved(well(10, 10, 0)) == 1
    assert moved(well(2500, 2500, 0)) == 50, "1 % of all in a third of a minute"
    assert moved(well(0, 10, 10)) == 0


@pytest.mark.parametrize(
    "servers",
    [
        well(10, 0),
        well(10, 10, 0, uptime=HOLD_SECONDS - 1),
        {**well(10, 10, 0), "s3": Server(0, LONG, False)},
        {**well(10, 10, 0), "s3": Server(0, 1.0, True)},
        {name: server for name, server in well(0, 10, 10, 0).items() if name != "s1"},
    ],
    ids=["one is away", "all are new", "one is not well", "one is new", "our own does not answer"],
)
def test_nobody_is_moved_while_a_server_is_not_well(servers: dict[str, Server]) -> None:
    assert moved(servers) == 0


def test_it_begins_anew_after_a_moment_of_balance_or_trouble() -> None:
    balance = Balance("s1", 3)
    for calm in (well(7, 7, 6), well(10, 10)):
        assert balance.to_move(well(10, 10, 0), 0) == 0
        assert balance.to_move(calm, HOLD_SECONDS) == 0
        assert balance.to_move(well(10, 10, 0), HOLD_SECONDS) == 0
