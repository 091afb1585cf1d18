"""Whose key is whose: no two devices have one, so that what is decided about the one says nothing about the other."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgeagent.errors import Refused
from edgeagent.hub import register
from edgeagent.hub.tokens import WHAT
from edgeagent.link import Client

__all__ = ["Keys"]

#: For how long the register, read once, does for others who claim, in seconds: a thousand boards may be switched on at once.
READ_SECONDS = 10.0


class Keys:
    """hub: a connection to the account HUB. monotonic: seconds."""

    def __init__(self, hub: Client, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._hub, self._monotonic = hub, monotonic
        self._owners: dict[str, set[str]] = {}
        self._read_at = float("-inf")

    async def check(self, public: str, device: str) -> None:
        """Note that the key is to be ``device``'s. Raises Refused when another device has it, or had it and is still registered."""
        if self._monotonic() - self._read_at > READ_SECONDS:
            await self._read()
        for other in self._owners.get(public, set()) - {device}:
            if await self._has(other, public):
                raise Refused(
                    WHAT,
                    f"its key is that of {other}",
                    f"enrol it as {other}, or make the hub forget that one: `edgeagent device forget {other}`",
                )
        self._owners.setdefault(public, set()).add(device)

    async def _read(self) -> None:
        owners: dict[str, set[str]] = {}
        for device, record in (await register.every(self._hub)).items():
            for key in register.keys_of(record):
                owners.setdefault(key, set()).add(device)
        self._owners, self._read_at = owners, self._monotonic()

    async def _has(self, device: str, public: str) -> bool:
        found = await register.find(self._hub, device)
        return found is not None and (found[0].key == public or public in register.keys_of(found[0]))
