"""A device that takes and hands over files, behind a cable that tells when so much has been carried."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.demo.cable import Cable
from edgeagent.enrolled import TRUST_FILE
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.pins import Pins
from tests.support.fleet import Device, LiveFleet
from tests.support.servers import until

__all__ = ["CountingCable", "FileDevice"]


class CountingCable(Cable):
    """``reached`` is set once ``limit`` bytes were carried both ways together."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.limit, self.reached = 1 << 60, asyncio.Event()
        super().__init__(target)

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name in ("bytes_out", "bytes_back") and self.carried >= self.limit:
            self.reached.set()

    @property
    def carried(self) -> int:
        return int(getattr(self, "bytes_out", 0)) + int(getattr(self, "bytes_back", 0))

    def until_more(self, more: int) -> asyncio.Event:
        """An event that is set once ``more`` bytes more were carried."""
        self.limit = self.carried + more
        self.reached.clear()
        return self.reached


class FileDevice(Device):
    """In the group ``shops``; files may be put into and fetched from ``shop``. cable: what it is linked by."""

    def __init__(self, hub: LiveFleet, folder: Path, device_id: str, cable: Cable) -> None:
        self.shop = folder / "shop"
        super().__init__(
            hub,
            folder,
            device_id,
            f"""[commands]
allow = ["ping", "file.*"]
[file]
push = ["{self.shop}"]
pull = ["{self.shop}"]
""",
        )
        text = self.settings.read_text()
        self.settings.write_text(text.replace(f":{hub.hub.options().leaf_port}", f":{cable.port}"))
        self.shop.mkdir()

    async def join(self, login: Credentials) -> None:
        """Be registered, and trust the role of ``login``."""
        await self.register("shops")
        pins = Pins(signers={str(jwt.claims(login.jwt)["iss"]): "admin"})
        files.write_atomic(self.folder / TRUST_FILE, msgspec.json.encode(pins), 0o600)

    @property
    def is_linked(self) -> bool:
        try:
            return self.status().link.up
        except Exception:  # not written yet
            return False

    async def linked(self) -> None:
        await until(lambda: self.is_linked, f"{self.id} is linked")
