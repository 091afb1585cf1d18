"""How the hub's nats-servers are, as each of them says it: one request of the system account, answered by all."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import nats.errors

from edgeagent.direct import in_our_words
from edgeagent.errors import Unreachable
from edgeagent.link import Client
from edgeagent.times import parse_rfc3339

__all__ = ["ServerState", "asked", "read"]

#: How long the first server may take to answer, in seconds.
ANSWER_SECONDS = 3.0
#: Servers of a cluster answer one by one; this long after the last one all have.
STALL_SECONDS = 0.3


class ServerState(NamedTuple):
    """One nats-server. leafs: links of devices. ahead_seconds: its clock before ours, as far as the time of the answer lets it be known.
    slow: connections that read too slowly since it started, and of them routes, to other servers. store_bytes, store_limit: what
    JetStream has on its disk, and may have. leader: the name of the server that leads JetStream in a cluster; None: there is no cluster."""

    name: str
    version: str
    leafs: int
    ahead_seconds: float
    slow: int
    slow_routes: int
    store_bytes: int
    store_limit: int
    leader: str | None = None


async def asked(system: Client, size: int) -> list[ServerState]:
    """Those that answer, by name. system: a connection to SYS. size: how many there should be.

    Raises Unreachable when none does.
    """
    what = "ask the hub's servers how they are"
    with in_our_words(what):
        found = await _asked(system, size)
    if not found:
        raise Unreachable(what, "none answered")
    return sorted(found.values())


async def _asked(system: Client, size: int) -> dict[str, ServerState]:
    inbox, found, timeout = system.new_inbox(), dict[str, ServerState](), ANSWER_SECONDS
    answers = await system.subscribe(inbox)
    try:
        began = time.time()
        await system.publish("$SYS.REQ.SERVER.PING.VARZ", b"{}", reply=inbox)
        while len(found) < size:
            message = await answers.next_msg(timeout=timeout)
            if not message.data:  # the server's word that nobody listens there
                break
            state = read(message.data, began, time.time())
            found[state.name] = state
            timeout = STALL_SECONDS
    except nats.errors.TimeoutError:
        pass
    finally:
        await answers.unsubscribe()
    return found


def read(data: bytes, began: float, now: float) -> ServerState:
    """An answer to VARZ. began, now: when it was asked for, and when it came: our clock, Unix seconds. Pure."""
    varz = json.loads(data).get("data") or {}
    jetstream, slow = varz.get("jetstream") or {}, varz.get("slow_consumer_stats") or {}
    stats, config, meta = jetstream.get("stats") or {}, jetstream.get("config") or {}, jetstream.get("meta")
    return ServerState(
        name=str(varz.get("server_name", "?")),
        version=str(varz.get("version", "")),
        leafs=_number(varz, "leafnodes"),
        ahead_seconds=_ahead(str(varz.get("now", "")), began, now),
        slow=_number(varz, "slow_consumers"),
        slow_routes=_number(slow, "routes") + _number(slow, "gateways"),
        store_bytes=_number(stats, "storage"),
        store_limit=_number(config, "max_storage"),
        leader=None if meta is None else str(meta.get("leader", "")),
    )


def _number(table: Mapping[str, Any], key: str) -> int:
    found = table.get(key, 0)
    return found if isinstance(found, int) else 0


def _ahead(said: str, began: float, now: float) -> float:
    """0 while it can be the same time."""
    try:
        theirs = parse_rfc3339(said).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return min(0.0, theirs - began) + max(0.0, theirs - now)
