"""A real mosquitto (Debian's package), with logins and TLS where they are wanted, and a client of its own for the other side."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edgeagent.natsserver import ports
from tests.support.servers import until

__all__ = ["Mosquitto", "Other", "needed", "running"]

#: Debian has it in /usr/sbin, which is not on everybody's PATH.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def needed() -> None:
    """Skip where there is none; where CI runs that is a failure (tests/conftest.py)."""
    if shutil.which("mosquitto", path=_PATH) is None:
        pytest.skip("there is no mosquitto here: apt-get install --no-install-recommends mosquitto")


class Mosquitto:
    """It keeps its port, and what it stored, when it is started again. more: lines of its configuration. logins: user -> password; none:
    everybody may do everything."""

    def __init__(self, folder: Path, more: str = "", logins: dict[str, str] | None = None) -> None:
        self.port, self.folder, self.more = ports.pick(), folder, more
        folder.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.set_logins(logins)

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def set_logins(self, logins: dict[str, str] | None) -> None:
        """From its next start on."""
        self._logins = logins
        path = self.folder / "passwords"
        path.write_text("".join(f"{user}:{password}\n" for user, password in (logins or {}).items()))
        path.chmod(0o600)
        if logins:
            tool = shutil.which("mosquitto_passwd", path=_PATH)
            assert tool is not None
            subprocess.run([tool, "-U", path], check=True)

    def begin(self) -> None:
        """Start it; :meth:`ready` waits for it."""
        login = f"password_file {self.folder}/passwords\nallow_anonymous false" if self._logins else "allow_anonymous true"
        (self.folder / "mosquitto.conf").write_text(
            f"user root\npersistence true\npersistence_location {self.folder}/\n"
            f"listener {self.port} 127.0.0.1\n{login}\n{self.more}\n"
        )
        program = shutil.which("mosquitto", path=_PATH)
        assert program is not None
        with (self.folder / "log").open("ab") as log:
            argv = [program, "-c", str(self.folder / "mosquitto.conf"), "-v"]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)

    async def ready(self) -> None:
        await until(self._listens, "mosquitto listens")

    async def start(self) -> None:
        self.begin()
        await self.ready()

    def _listens(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def save(self) -> None:
        """Have it write its sessions and retained messages to disk, as it does by itself every half an hour (mosquitto(8))."""
        database = self.folder / "mosquitto.db"
        database.unlink(missing_ok=True)
        self.signal(signal.SIGUSR1)
        await until(database.exists, "mosquitto has stored what it keeps")  # it is renamed to that name when it is whole

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextlib.asynccontextmanager
async def running(folder: Path, more: str = "", logins: dict[str, str] | None = None) -> AsyncIterator[Mosquitto]:
    needed()
    made = Mosquitto(folder, more, logins)
    try:
        await made.start()
        yield made
    finally:
        made.kill()


class Other:
    """Another client of the broker: paho-mqtt with its own thread, as somebody else's program has it. ``heard`` has everything that came,
    as (topic, payload, retain). Use it as an async context manager; its session ends with it."""

    def __init__(self, port: int, *topics: str, user: str = "", password: str = "", qos: int = 1) -> None:
        self._port, self._topics, self._qos = port, topics, qos
        self.heard: list[tuple[str, bytes, bool]] = []
        self._ready = False
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        if user:
            self._client.username_pw_set(user, password)
        self._client.on_connect, self._client.on_subscribe, self._client.on_message = (
            self._connected,
            self._subscribed,
            self._came,
        )

    def _connected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if self._topics:
            client.subscribe([(topic, self._qos) for topic in self._topics])
        else:
            self._ready = True

    def _subscribed(self, *_: Any) -> None:
        self._ready = True

    def _came(self, client: Any, userdata: Any, message: Any) -> None:
        self.heard.append((message.topic, message.payload, message.retain))

    async def __aenter__(self) -> Other:
        await asyncio.to_thread(self._client.connect, "127.0.0.1", self._port)
        self._client.loop_start()
        await until(lambda: self._ready, "the other client is connected")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    async def say(self, topic: str, payload: bytes | str, *, qos: int = 1, retain: bool = False) -> None:
        """Return when the broker has it."""
        info = self._client.publish(topic, payload, qos, retain)
        await until(info.is_published, f"{topic} is published")

    def of(self, topic: str) -> list[bytes]:
        return [payload for name, payload, _ in list(self.heard) if name == topic]
