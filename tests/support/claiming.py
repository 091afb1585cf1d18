"""Claims and renewals as a device's leaf sends them to a real hub, and what the hub's records say then."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeagent import services as envelopes
from edgeagent import wire
from edgeagent.direct import read_all
from edgeagent.enrolment import Admission, Renewal, Renewed
from edgeagent.hub import register
from edgeagent.hub.tokenstore import TokenStore
from edgeagent.tokens import TokenMade
from edgeagent.trust.nkeys import KeyPair
from tests.support.provisioninghub import ProvisioningHub, Services, ask, claim_of, leaf_login
from tests.support.rogue import Message, Rogue

__all__ = ["changed", "claim", "events_of", "read", "record", "renew", "send", "uses"]


def read(message: Message | None) -> Admission:
    assert message is not None, "the hub closed the link"
    return envelopes.result(message.data, Admission)


async def claim(place: ProvisioningHub, token: TokenMade, key: KeyPair, **about: Any) -> Admission:
    """Come as a leaf with the token, and claim."""
    async with await Rogue.connect(place.leaf_port, leaf_login(token.token)) as leaf:
        return read(await send(leaf, token.id, claim_of(key, token.id, **about)))


async def send(leaf: Rogue, token_id: str, body: bytes) -> Message | None:
    return await ask(leaf, f"provision.claim.{token_id}", body, f"_INBOX.{token_id}")


async def renew(leaf: Rogue, device: str, key: str) -> Renewed:
    body = wire.encode(Renewal(key=key))
    message = await ask(leaf, f"provision.renew.{device}", body, f"edge.to.device.{leaf.device_id}.in")
    assert message is not None, "the hub closed the link"
    return envelopes.result(message.data, Renewed)


async def uses(hub: Services, token: TokenMade) -> dict[str, str]:
    found = await TokenStore(hub.hub).find(token.id)
    assert found and found[0].pending == []
    return found[0].used


async def record(hub: Services, device: str) -> wire.DeviceRecord:
    found = await register.find(hub.hub, device)
    assert found is not None
    return found[0]


def changed(old: wire.DeviceRecord, **to: Any) -> wire.DeviceRecord:
    return msgspec.structs.replace(old, **to)


async def events_of(hub: Services, kind: str) -> list[wire.Event]:
    found = read_all(hub.hub, "EDGE_EVENTS", "edge.from.hub.event.*", prefix="$JS.API")
    return [event for event in [wire.decode(item.data, wire.Event) async for item in found] if event.kind == kind]
