from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from nats.aio.client import Client

from edgeagent.hub.revocations import Revocation, Revocations, in_force, lifted, merged
from tests.support.accounts import AccountsServer, running


def test_what_is_in_force_is_by_account_and_key_and_not_over() -> None:
    records = {
        "FLEET.UA": Revocation(until=5),
        "FLEET.UB": Revocation(until=6, forget_at=100),
        "FLEET.UC": Revocation(until=7, forget_at=99),
        "OPS.UA": Revocation(until=8),
        "OPS.UB": Revocation(until=0),
    }
    assert in_force(records, 99.5) == {"FLEET": {"UA": 5, "UB": 6}, "OPS": {"UA": 8}}
    assert in_force({}, 0) == {}


@pytest.mark.parametrize(
    ("one", "two", "both"),
    [
        (Revocation(until=5), Revocation(until=3), (5, 0, 0)),
        (Revocation(until=5, floor=5, forget_at=9), Revocation(until=7, forget_at=8), (7, 5, 9)),
        (Revocation(until=7, forget_at=8), Revocation(until=5, floor=5), (7, 5, 0)),
    ],
)
def test_two_revocations_of_a_key_refuse_what_either_does(one: Revocation, two: Revocation, both: tuple[int, int, int]) -> None:
    for first, second in ((one, two), (two, one)):
        made = merged(first, second)
        assert (made.until, made.floor, made.forget_at) == both
    assert merged(None, one) == one


def test_a_floor_is_not_lifted() -> None:
    assert lifted(Revocation(until=7)) is None
    left = lifted(Revocation(until=7, floor=5, reason="stolen"))
    assert left is not None and (left.until, left.floor, left.reason) == (5, 5, "")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountsServer]:
    with running(tmp_path_factory.mktemp("revocations")) as server:
        yield server


@pytest.fixture
async def hub(server: AccountsServer) -> AsyncIterator[Client]:
    await server.make_stream("KV_edge_revocations", "$KV.edge_revocations.>")
    client = await server.connect("HUB")
    yield client
    await client.close()


async def test_revoked_lifted_and_over(hub: Client) -> None:
    revocations = Revocations(hub)
    await revocations.add("FLEET", "UA", Revocation(until=5, floor=5))
    await revocations.add("FLEET", "UA", Revocation(until=9))
    await revocations.add("FLEET", "UB", Revocation(until=9))
    await revocations.add("OPS", "UC", Revocation(until=9, forget_at=50))
    assert await revocations.in_force(10) == {"FLEET": {"UA": 9, "UB": 9}, "OPS": {"UC": 9}}
    for key in ("UA", "UB", "nobody"):
        await revocations.lift("FLEET", key)
    assert await revocations.in_force(50) == {"FLEET": {"UA": 5}}
    info = await hub.jetstream().stream_info("KV_edge_revocations")
    assert info.state.messages == 1, "what is over is gone from the store"


async def test_the_same_again_writes_nothing(hub: Client) -> None:
    revocations = Revocations(hub)
    for _ in range(3):
        await revocations.add("FLEET", "UA", Revocation(until=5))
    assert (await hub.jetstream().stream_info("KV_edge_revocations")).state.last_seq == 1
