"""Nobody who was revoked comes in again because the hub's store was lost, is older, or its clock jumped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from nats.aio.client import Client

from edgeagent import wire
from edgeagent.administration import Person, refused_until
from edgeagent.errors import Refused
from edgeagent.hub import revocations
from edgeagent.hub.bucket import Bucket
from edgeagent.hub.refusals import Refusals, owed_by_device, owed_by_person
from edgeagent.hub.revocations import Revocation, Revocations, in_force, missing
from edgeagent.hub.runningclock import KEEP_SECONDS, RunningClock
from tests.support.accounts import AccountsServer, running

DAY = 86_400.0
NOW = 1_800_000_000.0
BUCKETS = ("edge_revocations", "edge_devices", "edge_people")


class Clocks:
    """The system's and the monotonic one."""

    def __init__(self, hub: Client) -> None:
        self.hub, self.now, self.passed = hub, NOW, 0.0

    def pass_seconds(self, seconds: float) -> None:
        self.now += seconds
        self.passed += seconds

    def clock(self) -> RunningClock:
        return RunningClock(self.hub, now=lambda: self.now, monotonic=lambda: self.passed)

    def refusals(self) -> Refusals:
        """Those of a hub that was just started."""
        return Refusals(self.hub, self.clock(), own=lambda: {"UHUB"}, now=lambda: self.now)


async def look(refusals: Refusals, **at_server: dict[str, int]) -> dict[str, dict[str, int]]:
    return await refusals.in_force(await refusals.read(), at_server)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountsServer]:
    with running(tmp_path_factory.mktemp("refusals")) as server:
        yield server


@pytest.fixture
async def hub(server: AccountsServer) -> AsyncIterator[Client]:
    for bucket in BUCKETS:
        await server.make_stream(f"KV_{bucket}", f"$KV.{bucket}.>")
    client = await server.connect("HUB")
    yield client
    await client.close()


async def register(hub: Client, *records: wire.DeviceRecord | Person) -> None:
    for record in records:
        name, key = ("edge_people", record.name) if isinstance(record, Person) else ("edge_devices", record.id)
        await Bucket(hub, name, type(record)).change(key, lambda _, new=record: new, what="register")  # type: ignore[misc]  # a default


# ---- an older store ----------------------------------------------------------------------------------------------------------


async def test_what_the_server_refuses_is_kept_when_the_record_of_it_is_lost(hub: Client) -> None:
    clocks = Clocks(hub)
    lost = {"FLEET": {"UA": 5, "UHUB": 5}, "PROVISION": {"UT": 6}, "HUB": {"UX": 7}}
    assert await look(clocks.refusals(), **lost) == {"FLEET": {"UA": 5}, "PROVISION": {"UT": 6}}
    assert await look(clocks.refusals()) == {"FLEET": {"UA": 5}, "PROVISION": {"UT": 6}}, "it is in the store now"


async def test_what_was_lifted_is_not_taken_again_but_a_later_revocation_is(hub: Client) -> None:
    clocks, record = Clocks(hub), Revocations(hub)
    await record.add("FLEET", "UA", Revocation(until=5, floor=3))
    await record.lift("FLEET", "UA")
    assert await look(clocks.refusals(), FLEET={"UA": 5}) == {"FLEET": {"UA": 3}}
    assert await look(clocks.refusals(), FLEET={"UA": 9}) == {"FLEET": {"UA": 9}}, "the record is older than that"
    await record.lift("FLEET", "UA")
    await record.lift("FLEET", "UA")
    assert await look(clocks.refusals(), FLEET={"UA": 9}) == {"FLEET": {"UA": 3}}


async def test_an_order_between_the_two_looks_is_not_undone(hub: Client) -> None:
    record, refusals = Revocations(hub), Clocks(hub).refusals()
    await record.add("FLEET", "UA", Revocation(until=5))
    before = await refusals.read()
    await record.lift("FLEET", "UA")
    await record.add("FLEET", "UB", Revocation(until=8, forget_at=int(NOW + DAY)))
    found = await refusals.in_force(before, {"FLEET": {"UA": 5, "UB": 8}})
    assert found["FLEET"]["UB"] == 8
    assert {key: (kept.until, kept.forget_at) for key, (kept, _) in (await record.all()).items()} == {
        "FLEET.UA": (0, 0),
        "FLEET.UB": (8, int(NOW + DAY)),
    }
    assert await look(refusals) == {"FLEET": {"UB": 8}}


def test_what_is_missing() -> None:
    records = {"FLEET.UA": Revocation(until=5), "FLEET.UB": Revocation(until=0, lifted=7)}
    assert missing(records, {"FLEET": {"UA": 5, "UB": 7, "UC": 1}}) == {"FLEET.UC": 1}
    assert missing(records, {"FLEET": {"UA": 6, "UB": 8}}) == {"FLEET.UA": 6, "FLEET.UB": 8}


async def test_a_revocation_that_was_taken_is_forgotten_when_its_jwt_may_have_ended(hub: Client) -> None:
    clocks = Clocks(hub)
    await register(hub, wire.DeviceRecord(id="pi-1", key="UA", issued_at=1, expires_at=int(NOW + DAY)))
    refusals = clocks.refusals()
    await look(refusals, FLEET={"UA": 5, "UNKNOWN": 5})
    kept = {key: record.forget_at for key, (record, _) in (await refusals.read()).items()}
    assert kept == {"FLEET.UA": int(NOW + 90 * DAY), "FLEET.UNKNOWN": 0}


async def test_the_registers_are_enough_and_nobody_else_is_refused(hub: Client) -> None:
    end = int(NOW + 30 * DAY)
    await register(
        hub,
        wire.DeviceRecord(id="pi-1", key="UA", issued_at=10, expires_at=end, older={"UB": end}, revoked=True),
        wire.DeviceRecord(id="pi-2", key="UC", issued_at=10, expires_at=end),
        wire.DeviceRecord(id="pi-3", key="UD", issued_at=10, expires_at=end, refused_until=int(NOW - DAY)),
        Person(name="eve", role="viewer", key="UE", issued_at=10, expires_at=end, older={"UF": end, "UG": 5}, revoked=True),
        Person(name="olga", role="viewer", key="UH", expires_at=end, older={"UI": end}, kept_out=["UI"]),
    )
    found = await look(Clocks(hub).refusals())
    assert found["FLEET"] == {"UA": int(NOW), "UB": int(NOW), "UD": int(NOW - DAY)}
    assert set(found["PROVISION"]) == {"UA", "UB"}
    assert set(found["OPS"]) == {"UE", "UI"}
    again = Clocks(hub)
    again.now += 50
    assert await look(again.refusals()) == found, "what is there already is not written again"


def test_a_lesser_revocation_than_the_registers_is_not_enough() -> None:
    record = wire.DeviceRecord(id="pi-1", key="UA", issued_at=100, expires_at=0, revoked=True, refused_until=50)
    least, new = owed_by_device(record, 200, 200)["FLEET.UA"]
    assert (least, new.until, new.floor, new.forget_at) == (100, 200, 50, 0)
    # Ahead of the hub: the laptop's clock.
    person = Person(name="eve", role="viewer", key="UE", issued_at=300, revoked=True)
    least, new = owed_by_person(person, 200, 200)["OPS.UE"]
    assert least == 300 and new.until > 300


# ---- the clock ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours_wrong", [0.01, 5])
async def test_a_jump_of_the_clock_lets_nobody_in(hub: Client, hours_wrong: float) -> None:
    clocks, record = Clocks(hub), Revocations(hub)
    refusals = clocks.refusals()
    await record.add("FLEET", "UA", Revocation(until=5, forget_at=int(NOW + 90 * DAY)))
    wanted = {"FLEET": {"UA": 5}}
    assert await look(refusals) == wanted
    clocks.now += 20 * 365 * DAY
    assert await look(refusals) == wanted
    clocks.pass_seconds(hours_wrong * 3600)
    for again in (refusals, clocks.refusals()):  # also a hub that is started now
        assert await look(again) == wanted and await look(again) == wanted
    clocks.now -= 20 * 365 * DAY
    assert await look(refusals) == wanted and await look(clocks.refusals()) == wanted


async def test_what_is_over_goes_once_the_server_has_let_go_of_it(hub: Client) -> None:
    clocks, record = Clocks(hub), Revocations(hub)
    refusals = clocks.refusals()
    await record.add("FLEET", "UA", Revocation(until=5, forget_at=int(NOW + DAY)))
    assert await look(refusals, FLEET={"UA": 5}) == {"FLEET": {"UA": 5}}
    clocks.pass_seconds(DAY + 1)
    assert await look(refusals, FLEET={"UA": 5}) == {}
    assert "FLEET.UA" in await refusals.read()
    assert await look(refusals) == {} and await refusals.read() == {}


async def test_who_is_revoked_stays_out_whatever_the_record_says(hub: Client) -> None:
    """The record may have been made with an older one of the register, which did not know of the last JWT."""
    clocks, record = Clocks(hub), Revocations(hub)
    refusals = clocks.refusals()
    await look(refusals)
    await record.add("FLEET", "UA", Revocation(until=5, forget_at=int(NOW + 1)))
    await register(hub, wire.DeviceRecord(id="pi-1", key="UA", issued_at=4, expires_at=int(NOW + 1), revoked=True))
    clocks.pass_seconds(DAY)
    assert await look(refusals, FLEET={"UA": 5}) == {"FLEET": {"UA": 5}}
    await register(hub, wire.DeviceRecord(id="pi-1", key="UA", issued_at=4, expires_at=int(NOW + 1)))
    assert await look(clocks.refusals(), FLEET={"UA": 5}) == {}


async def test_the_running_clock(hub: Client) -> None:
    clocks = Clocks(hub)
    clock = clocks.clock()
    assert await clock.time() == NOW
    clocks.now += 1000
    assert await clock.time() == NOW, "a jump"
    clocks.now -= 2000
    assert await clock.time() == NOW - 1000, "never ahead of the system's"
    clocks.now = NOW
    clocks.pass_seconds(KEEP_SECONDS)
    assert await clock.time() == NOW + KEEP_SECONDS
    clocks.now += 7 * DAY  # off for a week
    assert await clocks.clock().time() == NOW + KEEP_SECONDS
    assert await Revocations(hub).all() == {}, "it is no revocation"


async def test_a_clock_that_was_ahead_when_it_was_made_comes_back(hub: Client) -> None:
    clocks = Clocks(hub)
    clocks.now += 1000 * DAY
    clock = clocks.clock()
    await clock.time()
    clocks.now -= 1000 * DAY
    clocks.pass_seconds(KEEP_SECONDS)
    await clock.time()
    clocks.now += 1000 * DAY
    assert await clock.time() < NOW + DAY and await clocks.clock().time() < NOW + DAY


# ---- the size ----------------------------------------------------------------------------------------------------------------


async def test_there_is_room_for_so_many(hub: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Revocations(hub)
    monkeypatch.setattr(revocations, "LIMIT", revocations.SPARE + 5)
    await record.add("FLEET", "UA", Revocation(until=5))
    await record.add("OPS", "UA", Revocation(until=5))
    await record.check_room("FLEET", 4, "change groups")
    with pytest.raises(Refused, match="room for 4 more"):
        await record.check_room("FLEET", 5, "change groups")


def test_of_too_many_those_that_matter_most_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "LIMIT", 3)
    records = {
        "FLEET.U1": Revocation(until=9, floor=9, forget_at=90),
        "FLEET.U2": Revocation(until=5, forget_at=20),
        "FLEET.U3": Revocation(until=5, forget_at=30),
        "FLEET.U4": Revocation(until=4),
        "FLEET.U5": Revocation(until=3),
        "OPS.U6": Revocation(until=1, forget_at=1),
    }
    assert in_force(records) == {"FLEET": {"U3": 5, "U4": 4, "U5": 3}, "OPS": {"U6": 1}}


def test_the_bucket_may_be_smaller() -> None:
    assert revocations._room(10, 0, 3000) == 10 and revocations._room(10, 3100, 3000) == 0
    assert revocations._room(10, 0, -1) == revocations.LIMIT - revocations.SPARE - 10


def test_a_person_is_refused_past_what_any_clock_said() -> None:
    ahead = Person(name="bob", role="operator", key="U1", issued_at=int(NOW + DAY))
    assert refused_until(ahead, NOW) > NOW + DAY
    assert refused_until(Person(name="", role="", key="U1"), NOW) >= NOW + 365 * DAY
