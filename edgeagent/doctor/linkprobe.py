"""The proof that the link works now, end to end: the agent's own last heartbeat, sent once more, and read back with the hub's time.

It goes by the leaf, with the agent's login there, and only while an agent runs: a heartbeat says that one does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

from edgeagent import subjects
from edgeagent.direct import get_last
from edgeagent.doctor.check import Patient
from edgeagent.doctor.observed import running
from edgeagent.errors import EdgeError, Unreachable
from edgeagent.leaf.conf import AGENT_USER
from edgeagent.leaf.secrets import load
from edgeagent.link import Client, connect
from edgeagent.natsserver import ports
from edgeagent.publish import published

__all__ = ["Probed", "read"]

#: For each answer of the hub's, in seconds.
ANSWER_SECONDS = 5.0
#: On a hub of three servers a message may be read some milliseconds after it was stored; how often it is looked for, and how far apart.
LAG_TRIES, LAG_SECONDS = 5, 0.1
_STREAM, _WHAT = "EDGE_REPORTS", "try the link"


@dataclass(frozen=True)
class Probed:
    """milliseconds: until the hub acknowledged; None: it was not tried, or :attr:`problem` says why it did not.

    ahead_seconds: of the hub's clock before ours; None: not known.
    """

    milliseconds: float | None = None
    ahead_seconds: float | None = None
    problem: EdgeError | None = None


def read(patient: Patient) -> Probed:
    """Nothing where no agent runs and says that it is linked, or we may not use its login."""
    own = patient.settings
    if not patient.is_known or not own.hub.urls:
        return Probed()
    with contextlib.suppress(EdgeError):
        seen, secrets = running(patient), load(own.state_folder / "secrets.json")
        if secrets and seen and seen.link.up:
            return asyncio.run(_probed(seen.id, seen.leaf.port, secrets.agent))
    return Probed()


async def _probed(device_id: str, port: int, password: str) -> Probed:
    try:
        client = await connect(
            f"nats://{ports.HOST}:{port}",
            what=_WHAT,
            name="edgeagent doctor",
            inbox_prefix=subjects.agent_inbox(device_id),
            password=(AGENT_USER, password),
            reconnect=False,
        )
    except EdgeError:
        return Probed()  # what is wrong with the leaf is said elsewhere
    try:
        return await _asked(client, subjects.heartbeat(device_id))
    except EdgeError as error:
        return Probed(problem=error)
    finally:
        with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
            await client.close()


async def _asked(client: Client, subject: str) -> Probed:
    last = await get_last(client, _STREAM, subject, timeout=ANSWER_SECONDS)
    if last is None:
        return Probed()
    begun, sent = time.monotonic(), time.time()
    sequence = await published(client, subject, last.data, what=_WHAT, timeout=ANSWER_SECONDS)
    took = time.monotonic() - begun
    for _ in range(LAG_TRIES):
        stored = await get_last(client, _STREAM, subject, timeout=ANSWER_SECONDS)
        if stored is not None and stored.sequence >= sequence:
            return Probed(took * 1000, stored.time.timestamp() - (sent + took / 2))
        await asyncio.sleep(LAG_SECONDS)
    raise Unreachable(_WHAT, "the hub does not show what it acknowledged")
