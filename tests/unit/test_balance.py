"""How many devices a server sends elsewhere: few, late, and only when all servers are well."""

from __future__ import annotations

import pytest

from edgeagent.hub.balance import HOLD_SECONDS, Balance, Server, surplus
from edgeagent.hub.balancer import chosen_of, read
from edgeagent.hub.presence import Leaf
from edgeagent.subjects import VISITING

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


def test_links_of_newcomers_move_no_device() -> None:
    """Whoever has a claim token could else link so often that a server sends devices away for ever."""
    varz = {"data": {"now": "2026-11-22T12:00:00Z", "start": "2026-11-22T11:00:00Z", "leafnodes": 104}}
    statz = {"data": {"account_statz": [{"acc": "AFLEET", "leafnodes": 4}]}}
    assert read({"s1": varz, "s2": varz}, {"s1": {"data": {"status": "ok"}}}, {"s1": statz}) == {"s1": Server(4, 3600.0, True)}


def test_who_links_again_and_again_is_sent_away_and_nobody_else() -> None:
    honest = [Leaf(connection=f"S:{number}", device=f"pi-{number}") for number in range(50)]
    greedy = [Leaf(connection=f"S:9{number}", device="pi-evil" if number % 2 else None) for number in range(8)]
    visitor = Leaf(connection="S:99", name=f"pi-1{VISITING}")
    for _ in range(20):
        assert set(chosen_of([*honest, *greedy, visitor], set(), 5)) < set(greedy)
    assert set(chosen_of(honest, {"S:1"}, 50)) == set(honest) - {honest[1]}
