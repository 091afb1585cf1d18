"""Whether the hub is whole again, and where the devices are, as its servers say themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import nats.errors

from edgeagent.assembly.hublogin import sign_in
from edgeagent.errors import EdgeError
from edgeagent.hub import streams
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import Keyring
from edgeagent.link import Client
from tests.soak.site import Server
from tests.support.hub import answers

__all__ = ["leafs", "missing"]

#: For all servers' answers, in seconds.
ANSWER_SECONDS = 2.0


async def leafs(place: HubFolder, count: int) -> dict[str, int]:
    """How many devices each server has, by its name. count: how many servers there are. Raises EdgeError when none can be asked."""
    system = await sign_in(place, Keyring.load(place.path), "sys")
    try:
        found = [answer["data"] for answer in await _all_answers(system, "$SYS.REQ.SERVER.PING.VARZ", count)]
        return {each["server_name"]: each.get("leafnodes", 0) for each in found}
    finally:
        await system.close()


async def _all_answers(system: Client, subject: str, count: int) -> list[dict[str, Any]]:
    inbox, found = system.new_inbox(), list[dict[str, Any]]()
    subscription = await system.subscribe(inbox)
    await system.publish(subject, b"{}", reply=inbox)
    with contextlib.suppress(nats.errors.Error, asyncio.TimeoutError):
        while len(found) < count:
            found.append(json.loads((await subscription.next_msg(timeout=ANSWER_SECONDS)).data))
    return found


async def missing(servers: list[Server]) -> str:
    """What is not as it must be before the next blow; empty when every server answers and has every stream."""
    try:
        for server in servers:
            for what in ("server", "hub"):
                server.pid(what)
            if not await answers(server.place):
                return f"{server.name} does not answer"
        found = await leafs(servers[0].place, len(servers))
        if len(found) < len(servers):
            return f"only {', '.join(found)} are there"
        return await _behind(servers) if len(servers) > 1 else ""
    except (EdgeError, OSError, ValueError, nats.errors.Error) as error:
        return str(error)


async def _behind(servers: list[Server]) -> str:
    place = servers[0].place
    hub = await sign_in(place, Keyring.load(place.path), "hub")
    try:
        for stream in streams.STREAMS:
            answer = json.loads((await hub.request(f"$JS.API.STREAM.INFO.{stream.name}", b"", timeout=ANSWER_SECONDS)).data)
            cluster = answer.get("cluster", {})
            replicas = cluster.get("replicas", [])
            if not cluster.get("leader") or len(replicas) + 1 < len(servers):
                return f"{stream.name} has no leader, or too few copies"
            if late := [each["name"] for each in replicas if not each.get("current")]:
                return f"{stream.name} is behind on {', '.join(late)}"
    finally:
        await hub.close()
    return ""
