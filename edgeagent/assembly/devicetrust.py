"""What the hub's side decided about this device and about whom to trust, followed and kept: its record, who may sign, the hub's CAs.

Three things are followed (:mod:`edgeagent.documents`): the device's own record in the hub's register, the signed document
``trust.signers``, and ``trust.authorities``, which only the hub can write.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from edgeagent import files, subjects, wire
from edgeagent.direct import Stored, get_last
from edgeagent.documents import Source
from edgeagent.enrolled import AUTHORITIES_FILE, TRUST_FILE
from edgeagent.enrolment import Authorities
from edgeagent.errors import EdgeError, Failed, Unreachable
from edgeagent.link import Client
from edgeagent.subjects import DEVICES_BUCKET, TRUST_BUCKET
from edgeagent.trust.pins import load
from edgeagent.trust.signers import followed

__all__ = ["TRUST_KEYS", "DeviceTrust", "sources"]

log = logging.getLogger("edgeagent")

RECORD, SIGNERS, AUTHORITIES = TRUST_KEYS = ("record", "signers", "authorities")
Tell = Callable[..., None]


def sources(device_id: str) -> list[Source]:
    """What to follow for the device."""
    documents = [
        Source(key, f"KV_{TRUST_BUCKET}", subjects.document(scope), subjects.config_doorbell(scope))
        for key, scope in ((SIGNERS, subjects.SIGNERS), (AUTHORITIES, subjects.AUTHORITIES))
    ]
    record = Source(RECORD, f"KV_{DEVICES_BUCKET}", subjects.kv(DEVICES_BUCKET, device_id), subjects.record_doorbell(device_id))
    return [record, *documents]


class DeviceTrust:
    """Keeps ``trust.json`` and ``authorities.pem`` in ``folder``, and tells who must know.

    on_record: called with the device's record in the hub's register. on_signers, on_authorities: called after they are others.
    tell: an event, as :meth:`edgeagent.patterns.events.Events.tell`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        on_record: Callable[[wire.DeviceRecord], Awaitable[None]],
        on_signers: Callable[[], None],
        on_authorities: Callable[[], Awaitable[None]],
        tell: Tell,
    ) -> None:
        self._folder, self._tell = folder, tell
        self._on_record, self._on_signers, self._on_authorities = on_record, on_signers, on_authorities
        self._refused = 0

    @property
    def pins_file(self) -> Path:
        return self._folder / TRUST_FILE

    @property
    def authorities_file(self) -> Path:
        return self._folder / AUTHORITIES_FILE

    async def changed(self, key: str, stored: Stored | None) -> None:
        """For the :class:`~edgeagent.documents.Follower`. What is not there (any more) changes nothing."""
        if stored is None:
            return
        if key == RECORD:
            await self._on_record(wire.decode(stored.data, wire.DeviceRecord))
        elif key == AUTHORITIES:
            await self._take_authorities(wire.decode(stored.data, Authorities))
        elif key == SIGNERS:
            await self._take_signers(stored)

    async def look_at_signers(self, client: Client) -> None:
        """Read who may sign, now. Raises Unreachable when the hub does not answer."""
        try:
            await self.changed(SIGNERS, await get_last(client, f"KV_{TRUST_BUCKET}", subjects.document(subjects.SIGNERS)))
        except Unreachable:
            raise
        except EdgeError as error:  # there are no news, then
            log.warning("%s", error)

    async def _take_authorities(self, document: Authorities) -> None:
        text = "".join(document.authorities).encode()
        if not text or files.read_if_there(self.authorities_file) == text:
            return  # a hub that went over to a public certificate is trusted by it only after a new enrolment
        try:
            ssl.create_default_context(cadata=text.decode("ascii"))
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise Failed("take over the hub's certificate authorities", f"they are damaged ({error})") from None
        files.write_atomic(self.authorities_file, text, 0o600)
        self._tell(
            "info", "trust.authorities_changed", "the hub's certificate authorities changed", count=len(document.authorities)
        )
        await self._on_authorities()

    async def _take_signers(self, stored: Stored) -> None:
        before = load(self.pins_file)
        if not before.signers:
            return  # this device was not enrolled; it follows nobody
        try:
            after = followed(before, stored.data)
        except EdgeError as error:
            if stored.sequence != self._refused:
                self._refused = stored.sequence
                self._tell("error", "trust.signers_refused", str(error))
            return
        if after != before:
            files.write_atomic(self.pins_file, msgspec.json.encode(after) + b"\n", 0o600)
            self._tell("info", "trust.signers_changed", "who may sign for this device changed", generation=after.generation)
            self._on_signers()
