"""What administrators order about claim tokens, and how the hub tidies up after them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from edgeagent import wire
from edgeagent.direct import get_last
from edgeagent.enrolment import ClaimToken
from edgeagent.errors import EdgeError
from edgeagent.hub.bucket import Bucket
from edgeagent.hub.revocations import Revocation
from edgeagent.hub.tokenstore import TokenStore
from edgeagent.tokens import LIST, REVOKE, Board, TokenIds, TokenList
from edgeagent.trust import jwt
from edgeagent.trust.nkeys import KeyPair
from tests.support.claiming import claim, events_of
from tests.support.provisioninghub import DAY, ProvisioningHub, Services, running, started


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisioningHub]:
    with started(tmp_path_factory.mktemp("office")) as place:
        yield place


@pytest.fixture
async def hub(place: ProvisioningHub) -> AsyncIterator[Services]:
    async with running(place) as services:
        yield services


async def test_old_tokens_are_removed_and_the_others_listed(place: ProvisioningHub, hub: Services) -> None:
    boards = [Board(id="listed", serial="77")]
    old, used = await hub.token(boards=boards, note="gone"), await hub.token(note="kept", expires_in_seconds=90 * DAY)
    await claim(place, used, KeyPair.generate("user"), device="listing")
    place.offset = 31 * DAY
    new = await hub.token(by="nora", device="not-yet")
    listed: TokenList = await hub.handlers[LIST]("olga", b"{}")
    rows = {row.id: row for row in listed.tokens}
    assert old.id not in rows and listed.tokens[0].id == new.id
    assert await get_last(hub.hub, "KV_edge_tokens", f"$KV.edge_tokens.boards.{old.id}", prefix="$JS.API") is None
    assert (rows[used.id].state, rows[used.id].used, rows[used.id].left, rows[used.id].note) == ("used up", 1, 0, "kept")
    assert (rows[new.id].state, rows[new.id].left, rows[new.id].created_by, rows[new.id].device) == (
        "ready",
        1,
        "nora",
        "not-yet",
    )
    assert {event.data["user"] for event in await events_of(hub, "token.created")} >= {"olga", "nora"}


async def test_a_full_store_takes_new_tokens_once_the_old_ones_are_over(place: ProvisioningHub, hub: Services) -> None:
    js = hub.hub.jetstream()
    info = await js.stream_info("KV_edge_tokens")
    before = info.config.max_bytes
    await js.update_stream(info.config, max_bytes=info.state.bytes + 200_000)
    try:
        boards = [Board(id=f"full-{number}", serial=f"{number:x}", labels={"site": "x" * 250}) for number in range(1, 201)]
        with pytest.raises(EdgeError, match="maximum bytes"):
            for _ in range(10):
                await hub.token(boards=boards)
        with pytest.raises(EdgeError, match="maximum bytes"):
            await hub.token(boards=boards)
        place.offset = 60 * DAY
        assert (await hub.token(boards=boards)).uses == 200
    finally:
        await js.update_stream(info.config, max_bytes=before)


async def kept_out(hub: Services, public: str) -> Revocation | None:
    return (await Bucket(hub.hub, "edge_revocations", Revocation).find(f"PROVISION.{public}") or (None, 0))[0]


async def test_the_login_of_a_token_that_is_over_is_kept_out(place: ProvisioningHub, hub: Services) -> None:
    """Else its holders could take every place for newcomers; tests/live/test_administration.py tries it."""
    revoked, used, ready = await hub.token(), await hub.token(), await hub.token(expires_in_seconds=90 * DAY)
    keys = {made.id: jwt.claims(ClaimToken.parse(made.token).jwt) for made in (revoked, used, ready)}
    await hub.handlers[REVOKE]("olga", wire.encode(TokenIds(ids=[revoked.id])))
    assert await kept_out(hub, keys[revoked.id]["sub"]) is None, "for a day its holder is told that it was revoked"
    await claim(place, used, KeyPair.generate("user"), device="used-it-up")
    await hub.office.tidy()
    assert await kept_out(hub, keys[used.id]["sub"]) is None, "the device's answer may have been lost: it may ask again for a day"
    await hub.office.tidy()
    found = await kept_out(hub, keys[used.id]["sub"])
    assert found and found.forget_at > keys[used.id]["exp"] and hub.pushes >= 1
    found = await kept_out(hub, keys[revoked.id]["sub"])
    assert found and found.until >= keys[revoked.id]["iat"]
    assert await kept_out(hub, keys[ready.id]["sub"]) is None


async def test_a_mistyped_token_revokes_none(place: ProvisioningHub, hub: Services) -> None:
    made = await hub.token()
    for wrong in ("aaaaaaaaaaaa", "*", ">", ""):
        with pytest.raises(EdgeError, match="there is no token"):
            await hub.handlers[REVOKE]("olga", wire.encode(TokenIds(ids=[made.id, wrong])))
    found = await TokenStore(hub.hub).find(made.id)
    assert found and not found[0].revoked
