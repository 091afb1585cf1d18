"""A board's life by MQTT with the commands that people use: a login, a flash, readings, orders, an update, and one that does not work."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import Failed
from edgeagent.firmware import compiling, source
from edgeagent.firmware.release import SOURCE, Builds, Release
from edgeagent.mqttsettings import MqttSettings
from edgeagent.natsserver import ports
from edgeagent.patterns.mcuupdate import Updated, update
from tests.support import mqttleaf
from tests.support.fleet import cli
from tests.support.micropython import missing
from tests.support.mqttboard import COUNTER, COUNTING, WIFI
from tests.support.servers import until
from tests.support.virtualpico import Pico

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
READINGS = 60


def flashed(folder: Path, port: int, pico: Pico) -> None:
    """As its owner does it: ``mcu add`` at the device, ``firmware flash`` where the board is plugged in."""
    agent = folder / "agent.toml"
    (folder / "state").mkdir(mode=0o700)
    agent.write_text(f'[paths]\nstate = "state"\nruntime = "run"\n[mqtt]\nport = {port}\ntls = "self"\n')
    added = cli("mcu", "add", "oven", "--out", str(folder / "oven.env"), "--settings", str(agent))
    assert added.code == 0 and "must trust the authority" in added.out, added
    sensor = {"kind": "counter", "name": "n", "most": READINGS}
    settings = {"interval_seconds": 86400, "confirm_seconds": 1, "sensors": [sensor], "wifi": WIFI, "outputs": {"lamp": 15}}
    (folder / "oven.json").write_text(json.dumps(settings))
    options = ["--mqtt", str(folder / "oven.env"), "--settings", str(folder / "oven.json")]
    done = cli("firmware", "flash", "--port", str(pico.port), *options)
    assert done.code == 0 and "It speaks by MQTT now" in done.err, done


def newer(release: Release, version: str, app: str = "") -> Release:
    files = {**release.files, "version.py": f'VERSION = "{version}"\n'.encode()}
    return Release(version, files | ({"app.py": app.encode()} if app else {}))


def built(release: Release) -> Builds:
    """Compiled as by flashing; only what is another file is sent."""
    found = compiling.builds(release)
    return {name: found[name] for name in found if name != SOURCE} or found


async def test_a_board_from_its_login_to_a_bad_update(tmp_path: Path) -> None:
    mqtt = MqttSettings(port=ports.pick(), tls="self")
    with Pico(tmp_path / "pico", files={COUNTER: COUNTING}) as pico:
        flashed(tmp_path, mqtt.port, pico)
        async with mqttleaf.running(tmp_path / "state", mcu_ids=["oven"], mqtt=mqtt) as leaf:

            async def command(action: str, args: Any, seconds: float) -> Any:
                return await leaf.mcus.command("oven", action, args, seconds=seconds)

            async def stored() -> bool:
                return Counter(await leaf.values("mcu.n")) == Counter(float(n + 1) for n in range(READINGS))

            await until(stored, "each reading is there once")
            (status,) = leaf.mcus.status()
            assert (status.firmware, status.malformed, status.lost) == (source.newest(), 0, 0)
            assert json.loads((pico.flash / "settings.json").read_text())["mqtt"]["tls"] is True
            assert await command("pin.lamp", {"on": 1}, 10.0) == {"lamp": 1}
            leaf.mcus.set_configuration({"oven": {"interval_seconds": 9}})
            assert await command("interval", {}, 10.0) == {"seconds": 9}

            (pico.flash / "main.py").write_text("import loader\nloader.PAUSE_SECONDS = 0\nloader.main()\n")
            release = source.read()
            found = await update("oven", command, built(newer(release, "7.1")), pause=0.1)
            assert found == Updated("7.1", source.newest(), found.sent, False) and found.sent < 200
            with pytest.raises(Failed, match=r"version 7\.2 did not prove itself, and it runs 7\.1 again"):
                await update("oven", command, built(newer(release, "7.2", "raise RuntimeError('no oven')")), pause=0.1)
            assert json.loads((pico.flash / "slot.json").read_text()) == {"active": "b", "bad": "7.2"}
            assert leaf.mcus.hellos()["oven"].bad == "7.2"  # type: ignore[union-attr]
            assert await command("interval", {}, 10.0) == {"seconds": 9}, "it was told again what was configured"
