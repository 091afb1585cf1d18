"""A board whose clock begins in 2021, at the leaf's own certificate: what it measures has its right time, told before or after."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from edgeagent import files
from edgeagent.leaf.mqtttls import OwnTls
from edgeagent.localsubjects import LOCAL_METRICS
from edgeagent.mqttsettings import MqttSettings
from edgeagent.natsserver import ports
from edgeagent.sample import Sample
from tests.firmware.test_mqtt_tls import der
from tests.support import mqttboard, mqttleaf
from tests.support.micropython import missing
from tests.support.servers import until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

#: As an RP2040 has it after each reset: 2021-01-01.
BEGINS = 1609459200
#: The year of its clock, besides the number.
DATED = mqttboard.COUNTING.replace("import world", "import time\nimport world").replace(
    '{"": self.count}', '{"": self.count, "year": time.gmtime()[0]}'
)


def are_from(samples: Iterable[Sample], begin: float, end: float) -> bool:
    """Whether they were measured between these moments, give or take: nearer to that than to now."""
    return all(begin - 1 <= each.time <= end + (time.time() - end) / 2 for each in samples)


async def test_what_it_measures_has_the_right_time_whatever_its_clock_says(tmp_path: Path) -> None:
    mqtt = MqttSettings(port=ports.pick(), tls="self")
    files.make_folder(tmp_path / "state", 0o700)
    own = OwnTls(tmp_path / "state")
    own.ensure([])
    ca, began = der(own.ca.read_bytes(), tmp_path / "ca.der"), time.time()
    login = {"user": "oven", "password": mqttleaf.PASSWORD}
    async with mqttboard.running(tmp_path, "oven", mqtt.port, ca=ca, clock=BEGINS, sensor=DATED, **login) as board:
        await board.says("cannot reach the broker")
        await until(lambda: board.measured > 40, "it measures")
        away, ended = board.measured, time.time()
        async with mqttleaf.running(tmp_path / "state", mcu_ids=["oven"], mqtt=mqtt) as leaf:

            async def years() -> list[Sample]:
                return [each for each in await leaf.samples() if each.metric == "mcu.n.year"]

            async def is_told() -> bool:
                return (await leaf.values("mcu.n.year"))[-1:] > [2021]

            await until(is_told, "its clock is set")
            found = await years()
            assert len(found) > away and are_from(found[: away - 1], began, ended) and found[0].value == 2021

            await leaf.delete(LOCAL_METRICS)
            began = time.time()
            await leaf.mcus.command("oven", "reset", {})
            await until(lambda: "reset" in (board.world / "control").read_text().splitlines(), "it resets")
            boot, kept, ended = leaf.mcus.status()[0].boot, list((board.flash / "kept").iterdir()), time.time()
            await board.restart()
            await leaf.make_stores()
            await until(lambda: leaf.mcus.status()[0].boot != boot, "all that it kept is there")
            found = await years()  # those of a window of 16 came before the reset
            assert kept and len(found) > 30 and are_from(found[20:30], began, ended), "though its clock began in 2021 again"
