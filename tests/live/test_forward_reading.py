"""Reading a stream of the leaf in batches, and where the hub says that a device left off."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.chunk import Progress
from edgeagent.errors import Failed, Unreachable
from edgeagent.patterns.hubcursor import Cursor, HubCursor
from edgeagent.patterns.locallog import LocalLog, nanoseconds
from tests.support.forwarding import METRICS, ForwardingDevice
from tests.support.servers import until
from tests.support.trusthub import TrustHub


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("2026-11-21T10:00:00.123456789Z", 1_795_255_200_123_456_789),
    ],
)
def test_a_time_to_the_nanosecond(text: str, wanted: int) -> None:
    assert nanoseconds(text) == wanted


@pytest.mark.parametrize("text", ["", "2026-11-21T10:00:00+01:00", "2026-11-21T10:00:00.1234567891Z", "2026-11-21T10:00:00.x1Z"])
def test_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        nanoseconds(text)


async def test_pages_and_holes(tmp_path: Path) -> None:
    async with TrustHub(tmp_path / "hub") as hub:
        device = ForwardingDevice(hub, tmp_path / "pi-1")
        async with device.leaf_running():
            local = LocalLog(device.client, METRICS.local)
            assert (await local.read(1, count=9, max_bytes=1000)) == ([], None) and (await local.state()).messages == 0
            await device.publish(9)
            await device.js.delete_msg(METRICS.local, 4)
            heard = await device.client.subscribe("local.inbox.*")
            page = await local.read(3, count=3, max_bytes=1 << 20)
            assert (await heard.next_msg(timeout=10)).data, "it is answered where no link tells the hub of it"
            await heard.unsubscribe()
            assert [message.sequence for message in page.messages] == [3, 5, 6]
            assert len((await local.read(1, count=9, max_bytes=1)).messages) >= 1
            at = await local.at(5)
            assert at and (at.sequence, await local.at(4), await local.at(99)) == (5, None, None)
            state = await local.state()
            assert (state.first, state.last, state.messages) == (1, 10, 9)
            cursor = HubCursor(device.client, device.id, METRICS, local)

            async def linked() -> bool:
                try:
                    return await cursor.read(state, None) == Cursor(0, Progress(log=state.created))
                except Unreachable:
                    return False

            await until(linked, "the hub has nothing of the device")
            hint = Progress(log=state.created, next=5, edge=(at.sequence, at.time))
            assert await cursor.read(state, hint) == Cursor(0, hint)
            found = await cursor.read(state, Progress(log=state.created, epoch=3, next=5, edge=(5, 5)))
            assert found.anew and found.progress == Progress(log=state.created, epoch=4)
            with pytest.raises(Failed, match="not found"):
                await LocalLog(device.client, "NOTHING").state()


#: As a leaf gives them, in its order.
EXACT = {
    "Nats-Stream": "LOCAL_METRIC",
    "Nats-Subject": "local.metric.other",
    "Nats-Sequence": "99",
    "Nats-Time-Stamp": "2001-01-01T00:00:00Z",
}
FORGED = {
    "Nats-Sequence": "99",
    "Nats-Subject": "local.metric.other",
    "Nats-Time-Stamp": "2001-01-01T00:00:00Z",
    "Nats-Num-Pending": "0",
}


@pytest.mark.parametrize("headers", [{"Mine": "x"}, FORGED, {"Nats-Stream": "a", **FORGED}, EXACT, {"Status": "204"}])
async def test_headers_of_programs_change_nothing_of_what_is_read(tmp_path: Path, headers: dict[str, str]) -> None:
    async with TrustHub(tmp_path / "hub") as hub:
        device = ForwardingDevice(hub, tmp_path / "pi-1")
        async with device.leaf_running():
            for number in range(6):
                await device.js.publish("local.metric.numbers", str(number).encode(), headers=headers if number % 2 else None)
            page = await LocalLog(device.client, METRICS.local).read(1, count=9, max_bytes=1 << 20)
    found = [(message.sequence, message.subject, message.data) for message in page.messages]
    assert found == [(number + 1, "local.metric.numbers", str(number).encode()) for number in range(6)]
    assert all(message.time > 1_700_000_000 * 10**9 for message in page.messages)
