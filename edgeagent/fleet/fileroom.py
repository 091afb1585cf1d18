"""Whether the hub has room for one more file: said before the first piece goes up, and before any command is written."""

from __future__ import annotations

import json

from edgeagent.errors import Failed
from edgeagent.link import Client
from edgeagent.patience import asked
from edgeagent.subjects import API_PREFIX, FILES, UPLOADS
from edgeagent.transfer import pieces_of

__all__ = ["check", "store_full", "uploads"]

#: What the hub stores with a piece besides: subject, headers, a checksum.
OVERHEAD_BYTES = 256
WHAT = "upload the file"


def store_full(what: str) -> Failed:
    """The hub's store for files is full."""
    return Failed(
        what, "the hub's store for files is full", "files stay there for 8 days; a larger `store_max_bytes` of the hub makes room"
    )


async def check(client: Client, size: int) -> None:
    """Raise Failed when a file of ``size`` bytes does not fit into what the hub has left for files."""
    info = await _info(client, FILES, WHAT)
    limit, used = int(info["config"]["max_bytes"]), int(info["state"]["bytes"])
    needed = size + pieces_of(size) * OVERHEAD_BYTES
    if needed > limit:
        why = f"it has {size:,} bytes, and the hub's store for files {limit:,}"
        raise Failed(WHAT, why, "a larger `store_max_bytes` of the hub makes room")
    if needed > limit - used:
        raise store_full(WHAT)


async def uploads(client: Client, what: str) -> tuple[int, int]:
    """The sequence of the newest piece that any device has handed over, and how many pieces the hub keeps of one device."""
    info = await _info(client, UPLOADS, what)
    return int(info["state"]["last_seq"]), int(info["config"]["max_msgs_per_subject"])


async def _info(client: Client, stream: str, what: str) -> dict[str, dict[str, int]]:
    answer = await asked(client, f"{API_PREFIX}.STREAM.INFO.{stream}", what=what)
    info: dict[str, dict[str, int]] = json.loads(answer.data)
    if "error" in info:
        why = str(info["error"].get("description", "unknown error"))
        raise Failed(what, why, "is `edgeagent hub up` running, and of this version?")
    return info
