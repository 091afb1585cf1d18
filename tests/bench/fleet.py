"""A fleet to measure, in a temporary folder and with the operator's files there too."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from edgeagent.demo.fleet import DemoFleet
from edgeagent.demo.layout import QUICK, DemoFolder, Pace, devices
from edgeagent.demo.story import until


@contextlib.asynccontextmanager
async def running(count: int, pace: Pace = QUICK, allow: str = "") -> AsyncIterator[DemoFleet]:
    """A hub and ``count`` devices, all online. allow: an action that they take besides, as in agent.toml."""
    with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as name:
        for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
            os.environ[variable] = str(Path(name) / variable.lower())
        fleet = DemoFleet(_Folder(Path(name) / "demo", allow), devices(count), pace)
        try:
            await fleet.start()
            await until("all are online", lambda outcome: len(outcome.answered) == count)
            yield fleet
        finally:
            await fleet.close()


class _Folder(DemoFolder):
    def __init__(self, path: Path, allow: str) -> None:
        super().__init__(path)
        self._allow = allow

    def settings_text(self, *args: Any, **options: Any) -> str:
        text = super().settings_text(*args, **options)
        return text.replace('allow = ["ping"', f'allow = ["{self._allow}", "ping"') if self._allow else text


def pid_of(fleet: DemoFleet, device_id: str, what: str) -> int:
    """what: ``agent`` or ``leaf``."""
    return int((fleet.folder.device(device_id) / f"{what}.pid").read_text())
