"""A subject of the leaf's store of samples that nobody but the agent writes to: each message once, whatever became of an acknowledgement."""

from __future__ import annotations

from edgeagent.direct import get_last
from edgeagent.errors import Failed
from edgeagent.link import Client
from edgeagent.localsubjects import LOCAL_METRICS
from edgeagent.publish import published_if

__all__ = ["HEADER_BYTES", "OwnLog"]

#: JetStream of the leaf itself (the hub's is reached by another name: docs/wire.md).
_LEAFS_API = "$JS.API"
#: JetStream counts the headers of a message too; that of :func:`published_if` has 61 bytes and a number.
HEADER_BYTES = 256
#: How long to wait for the store's word, in seconds.
ACK_SECONDS = 5.0
#: Who else writes there can't be outrun for ever.
MAX_TRIES = 3


class OwnLog:
    """client: to the leaf. what: as for :class:`EdgeError`. Every method raises EdgeError."""

    def __init__(self, client: Client, subject: str, *, what: str) -> None:
        self._client, self._subject, self._what = client, subject, what
        #: The sequence of the newest message there, 0: there is none; None: not known.
        self._last: int | None = None

    async def newest(self) -> bytes:
        """The newest message; nothing when there is none."""
        found = await get_last(self._client, LOCAL_METRICS, self._subject, prefix=_LEAFS_API)
        self._last = found.sequence if found else 0
        return found.data if found else b""

    async def store(self, payload: bytes) -> None:
        """After an error it is not certain whether it was stored; the same once more then finds out."""
        for _ in range(MAX_TRIES):
            if self._last is None and await self.newest() == payload:
                return
            last, self._last = self._last or 0, None
            self._last = await published_if(self._client, self._subject, payload, last, what=self._what, timeout=ACK_SECONDS)
            if self._last is not None:
                return
        raise Failed(self._what, f"something else writes to {self._subject} all the time")
