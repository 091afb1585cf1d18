"""What the service makes of a message before it looks anything up, and how it answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from edgeagent import services, wire
from edgeagent.enrolment import Claim, Renewal
from edgeagent.errors import Failed, Refused, UsageProblem
from edgeagent.hub.authorities import split
from edgeagent.hub.claiming import read_claim
from edgeagent.hub.desk import AT_ONCE, MAX_BYTES, Desk
from edgeagent.hub.renewing import check, read_renewal
from edgeagent.ratelimit import RateLimits
from edgeagent.trust.nkeys import KeyPair
from edgeagent.wire import DeviceRecord
from tests.support.provisioninghub import claim_of

TOKEN = "abcdefghij23"
KEY = KeyPair.generate("user")


def test_a_claim_that_is_signed_by_its_key() -> None:
    body = claim_of(KEY, TOKEN, device="pi-1", serial="a 1", macs=["b", "a"])
    assert read_claim(TOKEN, body).device == "pi-1"
    reordered = msgspec.json.decode(body, type=Claim)
    reordered.macs.reverse()
    assert read_claim(TOKEN, wire.encode(reordered)).macs == ["a", "b"]


@pytest.mark.parametrize("token_id", ["", "*", ">", "ABCDEFGHIJ23", "bbcdefghij23"])
def test_a_claim_is_bound_to_its_token(token_id: str) -> None:
    with pytest.raises(Refused, match=r"names no token|not that of its key"):
        read_claim(token_id, claim_of(KEY, TOKEN, device="pi-1"))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{}" + b" " * MAX_BYTES, "longer than 8192 bytes"),
        (b"{}", "cannot read the claim. Is edgeagent"),
        (b"\xff", "cannot read the claim. Is edgeagent"),
        (claim_of(KEY, TOKEN, serial="a\nb"), "id, serial or MACs"),
        (claim_of(KEY, TOKEN, serial="x" * 65), "id, serial or MACs"),
        (claim_of(KEY, TOKEN, device="x" * 101), "id, serial or MACs"),
        (claim_of(KEY, TOKEN, device="pi\x1b[2J"), "id, serial or MACs"),
        (claim_of(KEY, TOKEN, macs=["x"] * 65), "id, serial or MACs"),
    ],
)
def test_a_claim_that_makes_no_sense(body: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        read_claim(TOKEN, body)


def test_who_may_renew() -> None:
    key = KEY.public
    assert check(DeviceRecord(id="pi-1", key=key), "pi-1", key).id == "pi-1"
    for record, why in (
        (None, "it was forgotten. Enrol it again"),
        (DeviceRecord(id="pi-1", key=key, revoked=True), "it is revoked"),
        (DeviceRecord(id="pi-1", key="U2"), "another board took over this id"),
        (DeviceRecord(id="pi-1", key="U2", revoked=True), "another board took over this id"),
        (DeviceRecord(id="pi-1"), "another board took over this id"),
    ):
        with pytest.raises(Refused, match=f"cannot renew pi-1: {why}"):
            check(record, "pi-1", key)


@pytest.mark.parametrize(
    ("device", "body", "why"),
    [
        pytest.param("*", wire.encode(Renewal(key=KEY.public)), "names no device", id="any"),
        pytest.param("Pi", wire.encode(Renewal(key=KEY.public)), "names no device", id="capital"),
        ("pi-1", b"", "cannot read the request"),
        ("pi-1", wire.encode(Renewal(key="U1")), "no public user key"),
        ("pi-1", b" " * (MAX_BYTES + 1), "longer than"),
    ],
)
def test_a_renewal_that_makes_no_sense(device: str, body: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        read_renewal(device, body)


def test_certificates_are_handed_out_one_by_one() -> None:
    one, two = (f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n" for name in "AB")
    assert split(f"# ours\n{one}\n{two}") == [one, two] and split("") == []


# ---- the desk ---------------------------------------------------------------------------------------------------------------


@dataclass
class Asked:
    """A message as nats-py gives it to a subscriber."""

    subject: str = "provision.renew.pi-1"
    data: bytes = b""
    reply: str = "edge.to.device.pi-1.in.1"
    answers: list[bytes] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def respond(self, data: bytes) -> None:
        self.answers.append(data)
        self.answered.set()


async def said(work: Any) -> bytes:
    desk, message = Desk("renew", work), Asked()
    await desk.heard(message)
    await message.answered.wait()
    (answer,) = message.answers
    return answer


async def test_what_is_refused_is_answered_as_it_is() -> None:
    async def refuse(who: str, data: bytes) -> msgspec.Struct:
        raise Refused(f"renew {who}", "it is revoked")

    with pytest.raises(Refused, match="cannot renew pi-1: it is revoked"):
        services.result(await said(refuse), Renewal)


@pytest.mark.parametrize("error", [Failed("read x", "secret detail"), KeyError("secret detail")])
async def test_what_goes_wrong_here_is_for_the_log_alone(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(who: str, data: bytes) -> msgspec.Struct:
        raise error

    with pytest.raises(Failed, match="cannot renew: the hub is not well") as caught:
        services.result(await said(fail), Renewal)
    assert "secret detail" in caplog.text and "secret" not in str(caught.value)


async def test_usage_problems_are_the_askers() -> None:
    async def fail(who: str, data: bytes) -> msgspec.Struct:
        raise UsageProblem("sign", "bad name")

    with pytest.raises(UsageProblem):
        services.result(await said(fail), Renewal)


async def test_so_many_at_once_and_the_others_wait() -> None:
    begun, all_begun, go_on = 0, asyncio.Event(), asyncio.Event()

    async def work(who: str, data: bytes) -> msgspec.Struct:
        nonlocal begun
        begun += 1
        if begun == AT_ONCE:
            all_begun.set()
        await go_on.wait()
        return Renewal(key="U")

    desk, messages = Desk("renew", work), [Asked() for _ in range(AT_ONCE + 1)]
    for message in messages[:-1]:
        await desk.heard(message)
    last = asyncio.ensure_future(desk.heard(messages[-1]))
    await all_begun.wait()
    assert not last.done()
    go_on.set()
    await asyncio.gather(*(message.answered.wait() for message in messages))
    assert begun == AT_ONCE + 1


async def test_nobody_is_answered_where_he_may_not_hear() -> None:
    async def work(who: str, data: bytes) -> msgspec.Struct:
        raise AssertionError("it is not worked on")

    desk = Desk("renew", work, lambda who: f"edge.to.device.{who}.in")
    for reply in ("", "edge.to.device.pi-2.in.1", "edge.to.device.pi-1.in", "edge.to.device.pi-1.inside.1", "_INBOX.x"):
        await desk.heard(Asked(reply=reply))
    assert not desk._working


async def test_whoever_floods_is_dropped_before_he_takes_anybodys_place(caplog: pytest.LogCaptureFixture) -> None:
    worked, called = [], list[str]()

    async def work(who: str, data: bytes) -> msgspec.Struct:
        worked.append(who)
        return Renewal(key="U")

    desk = Desk("renew", work, rates=RateLimits(0.001, 10, shared=100), flooded=called.append)
    flood = [Asked() for _ in range(5000)]
    for message in flood:
        # It never waits: the queue behind it is not the flooder's.
        with pytest.raises(StopIteration):
            desk.heard(message).send(None)
    other = Asked(subject="provision.renew.pi-2")
    await desk.heard(other)
    await other.answered.wait()
    assert worked == ["pi-1"] * 10 + ["pi-2"]
    assert called == ["pi-1"] and caplog.text.count("pi-1 asks to renew far too often") == 1
    assert sum(len(message.answers) for message in flood) == 10


async def test_what_is_too_large_is_dropped() -> None:
    async def work(who: str, data: bytes) -> msgspec.Struct:
        raise AssertionError("it is not worked on")

    desk = Desk("renew", work)
    await desk.heard(Asked(data=b"x" * (MAX_BYTES + 1)))
    assert not desk._working


async def test_closing_ends_what_is_worked_on() -> None:
    started = asyncio.Event()

    async def work(who: str, data: bytes) -> msgspec.Struct:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    desk, message = Desk("renew", work), Asked()
    await desk.heard(message)
    await started.wait()
    await desk.close()
    assert message.answers == [] and not desk._working
