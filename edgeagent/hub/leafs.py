"""The servers' own lists of leaf nodes, and ending one of them: the requests of the system account that we make."""

from __future__ import annotations

import json

import nats.errors

from edgeagent.direct import in_our_words
from edgeagent.errors import Unreachable
from edgeagent.hub.presence import Leaf, read_leafz
from edgeagent.link import Client, request

__all__ = ["kick", "listed"]

#: How long the first server may take to list its leafs, in seconds: with 5,000 of them it is a large answer.
LIST_SECONDS = 10.0
#: Servers of a cluster answer one by one; this long after the last one the list counts as whole.
STALL_SECONDS = 0.3


async def listed(system: Client, account: str = "", *, subscriptions: bool = False) -> list[Leaf]:
    """Every server's leaf nodes. system: a connection to SYS. account: a public key; empty for all.

    Raises Unreachable when no server answers: that is no empty list.
    """
    with in_our_words("list the leaf nodes"):
        return await _listed(system, {"account": account, "subscriptions": subscriptions})


async def _listed(system: Client, wanted: dict[str, object]) -> list[Leaf]:
    inbox = system.new_inbox()
    answers = await system.subscribe(inbox)
    leafs: list[Leaf] = []
    timeout, servers = LIST_SECONDS, set()
    try:
        await system.publish("$SYS.REQ.SERVER.PING.LEAFZ", json.dumps(wanted).encode(), reply=inbox)
        while True:
            message = await answers.next_msg(timeout=timeout)
            if not message.data:  # the server's word that nobody listens there
                break
            server, found = read_leafz(message.data)
            servers.add(server)
            leafs += found
            timeout = STALL_SECONDS
    except nats.errors.TimeoutError:
        pass
    finally:
        await answers.unsubscribe()
    if not servers:
        raise Unreachable("list the leaf nodes", "no server answered")
    return leafs


async def kick(system: Client, leaf: Leaf, *, what: str) -> None:
    """End the leaf's connection; it may come back at once. what: as for :class:`EdgeError`."""
    server, _, client = leaf.connection.rpartition(":")
    # A request, not a publish: the server does nothing for an order without a reply subject.
    await request(system, f"$SYS.REQ.SERVER.{server}.KICK", json.dumps({"cid": int(client)}).encode(), what=what)
