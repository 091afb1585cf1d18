"""A second hub with the keys of the first and a store of its own, as a backup of it that was restored elsewhere."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from edgeagent.hub.folder import HubFolder
from edgeagent.natsserver import ports
from tests.support import quick
from tests.support.fleet import PATIENCE_SECONDS, LiveFleet
from tests.support.hub import answers
from tests.support.servers import until

__all__ = ["OtherHub"]


class OtherHub:
    """place: its folder."""

    def __init__(self, fleet: LiveFleet, folder: Path) -> None:
        first, self.place, self._fleet = fleet.hub, HubFolder(folder), fleet
        folder.mkdir(mode=0o700, parents=True)
        for name in ("keys", "tls"):
            if (first.path / name).is_dir():
                shutil.copytree(first.path / name, folder / name)
        if first.founder.exists():
            shutil.copy2(first.founder, self.place.founder)
        text = first.options_file.read_text()
        for name in ("client_port", "leaf_port"):
            text = re.sub(rf"(?m)^#? ?{name} = .*$", f"{name} = {ports.pick()}", text)
        text = re.sub(r'(?m)^listen = "127\.0\.0\.1:\d+"', f'listen = "127.0.0.1:{ports.pick()}"', text)
        self.place.options_file.write_text(text)
        self.place.options_file.chmod(0o600)

    @property
    def client_url(self) -> str:
        return f"nats://127.0.0.1:{self.place.options().client_port}"

    @property
    def leaf_url(self) -> str:
        return f"nats-leaf://127.0.0.1:{self.place.options().leaf_port}"

    def start(self) -> None:
        """Nothing is waited for."""
        with (self.place.path / "up.log").open("ab") as log:
            self._up = subprocess.Popen(quick.hub("up", "--dir", str(self.place.path)), stdout=log, stderr=log)

    def is_up(self) -> None:
        """Wait until it is."""
        self._fleet.do(until(lambda: answers(self.place), "the other hub answers"))

    def stop(self) -> None:
        self._up.send_signal(signal.SIGTERM)
        self._up.wait(PATIENCE_SECONDS)

    @contextlib.contextmanager
    def running(self) -> Iterator[OtherHub]:
        self.start()
        try:
            self.is_up()
            yield self
        finally:
            self.stop()
