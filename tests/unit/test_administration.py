"""The service that administrators ask, its shapes, the hub's own events, and the register of people."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
from nats.aio.client import Client

from edgeagent import services, subjects, wire
from edgeagent.administration import Done, Outcomes, Person, Revoke
from edgeagent.cli.device_orders import parse_labels
from edgeagent.direct import read_all
from edgeagent.errors import Failed, Refused, UsageProblem
from edgeagent.hub import bucket, events
from edgeagent.hub.administration import AT_ONCE, Administration
from edgeagent.hub.bucket import Bucket, said
from edgeagent.hub.device_orders import DeviceOrders
from edgeagent.hub.people import MAX_OLDER, keys_of, registered
from edgeagent.link import request
from tests.support.accounts import AccountsServer, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountsServer]:
    with running(tmp_path_factory.mktemp("administration")) as server:
        yield server


@pytest.fixture
async def hub(server: AccountsServer) -> AsyncIterator[Client]:
    client = await server.connect("HUB")
    yield client
    await client.close()


async def ask(hub: Client, what: str, user: str = "olga") -> Outcomes:
    answer = await request(hub, subjects.admin(user, what), wire.encode(Revoke(ids=["pi-01"])), what="ask")
    return services.result(answer.data, Outcomes)


async def test_a_handler_is_told_who_asks_what(hub: Client) -> None:
    async def handler(user: str, body: bytes) -> Outcomes:
        return Outcomes(devices={wire.decode(body, Revoke).ids[0]: Done(text=user)})

    async with Administration(hub, {"device_revoke": handler}):
        assert (await ask(hub, "device_revoke", "eve")).devices == {"pi-01": Done(text="eve")}
        with pytest.raises(Refused, match=r"cannot do 'explode': this hub knows no such order \(it knows device_revoke\)"):
            await ask(hub, "explode")


async def test_errors_keep_their_class_and_ours_stay_on_the_hub(hub: Client, caplog: pytest.LogCaptureFixture) -> None:
    async def refuses(user: str, body: bytes) -> None:
        raise UsageProblem("do that", "it cannot be meant")

    async def breaks(user: str, body: bytes) -> None:
        raise KeyError("secret")

    async with Administration(hub, {"refuses": refuses, "breaks": breaks}):
        with pytest.raises(UsageProblem, match="it cannot be meant"):
            await ask(hub, "refuses")
        with pytest.raises(Failed) as caught:
            await ask(hub, "breaks")
    assert "secret" not in str(caught.value) and "secret" in caplog.text


async def test_a_slow_order_does_not_hold_up_others_and_the_rest_wait(hub: Client) -> None:
    go, begun = asyncio.Event(), 0

    async def slow(user: str, body: bytes) -> None:
        nonlocal begun
        begun += 1
        await go.wait()

    async def quick(user: str, body: bytes) -> Outcomes:
        return Outcomes(devices={})

    async with Administration(hub, {"slow": slow, "quick": quick}):
        waiting = [asyncio.create_task(request(hub, subjects.admin("olga", "slow"), what="ask")) for _ in range(AT_ONCE - 1)]
        assert await ask(hub, "quick") == Outcomes(devices={})
        waiting += [asyncio.create_task(request(hub, subjects.admin("olga", "slow"), what="ask")) for _ in range(9)]
        go.set()
        await asyncio.gather(*waiting)
    assert begun == AT_ONCE + 8


async def test_several_instances_share_the_requests(hub: Client) -> None:
    answered = []

    async def handler(user: str, body: bytes) -> None:
        answered.append(user)

    async with Administration(hub, {"x": handler}), Administration(hub, {"x": handler}):
        for _ in range(10):
            await request(hub, subjects.admin("olga", "x"), what="ask")
    assert len(answered) == 10


# ---- events ------------------------------------------------------------------------------------------------------------------


async def test_an_event_is_stored_as_the_hubs_own(hub: Client, server: AccountsServer, caplog: pytest.LogCaptureFixture) -> None:
    await server.make_stream("EDGE_EVENTS", "edge.from.*.event.*")
    caplog.set_level(logging.INFO)
    await events.tell(hub, "warning", "device.revoked", "olga revoked pi-01", id="pi-01", user="olga")
    (stored,) = [item async for item in read_all(hub, "EDGE_EVENTS", "edge.from.hub.event.warning", prefix="$JS.API")]
    found = wire.decode(stored.data, wire.Event)
    assert (found.kind, found.text, found.data) == ("device.revoked", "olga revoked pi-01", {"id": "pi-01", "user": "olga"})
    assert [(r.levelname, r.message) for r in caplog.records if r.name == "edgeagent.hub"] == [("WARNING", "olga revoked pi-01")]


async def test_an_event_that_cannot_be_stored_is_logged(hub: Client, caplog: pytest.LogCaptureFixture) -> None:
    await hub.jetstream().delete_stream("EDGE_EVENTS")
    await events.tell(hub, "error", "x", "something happened")
    assert "something happened" in caplog.text and "cannot store an event of the hub" in caplog.text


# ---- people ------------------------------------------------------------------------------------------------------------------


def test_logins_before_the_newest_are_remembered_for_they_sign_still() -> None:
    first = registered(None, Person(name="olga", role="viewer", key="U1", issued_at=1, expires_at=100, older={"UX": 1}), 1)
    assert first.older == {}, "what was before, only the hub says"
    second = registered(first, Person(name="olga", role="operator", key="U2", issued_at=2, expires_at=200), 50)
    assert (second.role, keys_of(second)) == ("operator", {"U1": 100, "U2": 200})
    third = registered(second, Person(name="olga", role="operator", key="U3", issued_at=3), 150)
    assert keys_of(third) == {"U1": 100, "U2": 200, "U3": 0}
    fourth = registered(third, Person(name="olga", role="viewer", key="U4", expires_at=9999), 999)
    assert keys_of(fourth) == {"U1": 100, "U2": 200, "U3": 0, "U4": 9999}


def test_of_very_many_logins_the_newest_are_remembered_and_the_record_has_room_for_them() -> None:
    end = 1_800_000_000
    person = Person(name="o" * 64, role="operator", key="", reason="r" * 200, groups=["g" * 63], actions=["service.*"])
    for number in range(MAX_OLDER + 5):
        new = msgspec.structs.replace(person, key=f"U{number:055}", expires_at=0 if number == 1 else end + number)
        person = registered(person if number else None, new, end)
    assert len(person.older) == MAX_OLDER and f"U{1:055}" in person.older and f"U{2:055}" not in person.older
    assert len(wire.encode(person)) < 15 << 10


def test_a_key_that_is_kept_out_stays_out_and_is_noted_while_it_is_good() -> None:
    kept = Person(name="olga", role="viewer", key="U2", expires_at=200, older={"U1": 100}, revoked=True, kept_out=["U1", "U2"])
    new = registered(kept, Person(name="olga", role="viewer", key="U3", issued_at=150, expires_at=300, kept_out=["UX"]), 150)
    assert (new.revoked, new.kept_out) == (False, ["U2"])
    assert registered(new, Person(name="olga", role="viewer", key="U2", expires_at=200), 150).revoked


def test_the_same_login_again_does_not_let_a_revoked_person_in() -> None:
    login = Person(name="olga", role="viewer", key="U1", issued_at=1, expires_at=100)
    revoked = msgspec.structs.replace(login, revoked=True, reason="stolen")
    assert registered(revoked, login, 2) == revoked
    assert not registered(revoked, msgspec.structs.replace(login, key="U2"), 2).revoked


# ---- small things --------------------------------------------------------------------------------------------------------------


class Late(Bucket[Done]):
    """Always reads what somebody else has written over since."""

    async def find(self, key: str) -> tuple[Done, int] | None:
        return Done(text="old"), 999


async def test_a_record_is_written_where_it_is_wanted(
    hub: Client, server: AccountsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.make_stream("KV_x", "$KV.x.>")
    one = Bucket(hub, "x", Done)
    for key in ("a", "b"):
        assert await one.change(key, lambda kept: Done(text="1") if kept is None else None, what="write")
        assert await one.change(key, lambda kept: Done(text="1") if kept is None else None, what="write") is None
    assert {key: record.text for key, (record, _) in (await one.all()).items()} == {"a": "1", "b": "1"}
    monkeypatch.setattr(bucket, "PAUSE_SECONDS", 0)
    with pytest.raises(Failed, match="cannot write: others change it all the time"):
        await Late(hub, "x", Done).change("a", lambda kept: Done(text="2"), what="write")
    found = await one.find("a")
    assert found is not None and found[0].text == "1"


def test_an_outcome_says_why_and_what_to_do() -> None:
    assert said(Refused("revoke pi-01", "there is none", "look again")) == "there is none. Look again"
    assert said(Refused("revoke pi-01", "there is none")) == "there is none"


def test_every_order_about_devices_has_a_handler(hub_orders: DeviceOrders) -> None:
    assert sorted(hub_orders.handlers()) == [
        "device_forget",
        "device_groups",
        "device_labels",
        "device_revoke",
        "device_unrevoke",
    ]


@pytest.fixture
async def hub_orders(hub: Client) -> DeviceOrders:
    from edgeagent.hub.accounts_keeper import AccountsKeeper
    from edgeagent.hub.owner import Owner

    return DeviceOrders(hub, AccountsKeeper(hub, hub, Owner.create("berlin"), micro=True))


def test_labels_on_the_command_line() -> None:
    assert parse_labels(["site=berlin", "rack-", "note=a=b-", "empty="]) == (
        {"site": "berlin", "note": "a=b-", "empty": ""},
        ["rack"],
    )
    for wrong in ("site", "-", "=x", ""):
        with pytest.raises(UsageProblem, match="no change of a label"):
            parse_labels([wrong])
