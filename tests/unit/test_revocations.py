from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from nats.aio.client import Client

from edgeagent.hub.revocations import Revocation, Revocations, in_force, is_over, lifted, merged
from tests.support.accounts import AccountsServer, running


def test_what_is_in_force_is_by_account_and_key() -> None:
    records = {
        "FLEET.UA": Revocation(until=5),
        "FLEET.UB": Revocation(until=6, forget_at=100),
        "OPS.UA": Revocation(until=8),
        "OPS.UB": Revocation(until=0),
    }
    assert in_force(records) == {"FLEET": {"UA": 5, "UB": 6}, "OPS": {"UA": 8}}
    assert in_force({}) == {}
    assert [key for key, record in records.items() if is_over(record, 100)] == ["FLEET.UB"]
    assert not is_over(records["FLEET.UB"], 99.5)


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
    left = lifted(Revocation(until=7, floor=5, reason="stolen"))
    assert (left.until, left.floor, left.lifted, left.reason) == (5, 5, 7, "")
    assert lifted(left) == left
    assert (lifted(Revocation(until=7)).until, merged(lifted(Revocation(until=7)), Revocation(until=7)).until) == (0, 7)


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


async def in_the_bucket(revocations: Revocations) -> dict[str, dict[str, int]]:
    return in_force({key: record for key, (record, _) in (await revocations.all()).items()})


async def test_revoked_and_lifted(hub: Client) -> None:
    revocations = Revocations(hub)
    await revocations.add("FLEET", "UA", Revocation(until=5, floor=5))
    await revocations.add("FLEET", "UA", Revocation(until=9))
    await revocations.add("FLEET", "UB", Revocation(until=9))
    await revocations.add("OPS", "UC", Revocation(until=9, forget_at=50))
    assert await in_the_bucket(revocations) == {"FLEET": {"UA": 9, "UB": 9}, "OPS": {"UC": 9}}
    for key in ("UA", "UB", "nobody"):
        await revocations.lift("FLEET", key)
    assert await in_the_bucket(revocations) == {"FLEET": {"UA": 5}, "OPS": {"UC": 9}}
    (_, sequence) = (await revocations.all())["OPS.UC"]
    await revocations.remove("OPS.UC", sequence)
    assert set(await revocations.all()) == {"FLEET.UA", "FLEET.UB"}, "that it was lifted is remembered"


async def test_the_same_again_writes_nothing(hub: Client) -> None:
    revocations = Revocations(hub)
    for _ in range(3):
        await revocations.add("FLEET", "UA", Revocation(until=5))
    assert (await hub.jetstream().stream_info("KV_edge_revocations")).state.last_seq == 1
