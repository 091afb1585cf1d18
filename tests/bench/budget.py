"""What an idle device costs: bytes over the link and bytes onto the card, for both profiles, over TLS, beside what is promised.

``make bench ONLY=budget`` takes over an hour, 20 minutes for each of :data:`CASES`; ``MINUTES=60`` measures longer, ``CASE=metered`` only that one. The link is a TCP proxy; what the kernel says of its
segments is added as headers (IPv4 and TCP with time stamps: 52 bytes each), for a bill counts those too. The card is an ext4 file system
of its own on a loop device, whose own counter of written sectors counts, journal and all; that needs root. Else what the kernel says
that the processes wrote (/proc/PID/io), which leaves the file system's own out.

What does not happen while idle is measured apart and added: ten reconnects a month and a query a day.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

from edgeagent import lastgood, settings
from edgeagent.assembly.hubmake import make
from edgeagent.demo.cable import Cable
from edgeagent.demo.fleet import ADMIN, CONTEXT, DemoFleet
from edgeagent.demo.layout import SHIPPED, DemoDevice, DemoFolder, Pace
from edgeagent.demo.story import until
from edgeagent.fleet import Fleet
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.natsserver import ports

MINUTES = float(os.environ.get("MINUTES", "20"))
#: What the start leaves behind is not idle, in seconds.
SETTLE_SECONDS = 60.0
RECONNECTS, QUERIES = 5, 5
MONTH_SECONDS, DAY_SECONDS = 30 * 86_400, 86_400
MEGA = 1_000_000
SYNC_SECONDS = settings.LeafSettings().sync_seconds
HEADER_BYTES, SEGMENT_BYTES, SECTOR_BYTES, CARD_BYTES = 52, 1400, 512, 512 << 20
#: linux/tcp.h, struct tcp_info: tcpi_segs_out and tcpi_segs_in.
_SEGMENTS = struct.Struct("=II")
_SEGMENTS_AT = 136


class Case(NamedTuple):
    """settings: lines of agent.toml by their section. link_promised, card_promised: megabytes a month and a day; None: nothing is."""

    settings: dict[str, tuple[str, ...]]
    link_promised: float
    card_promised: float | None = None


#: ``sparing`` is what ``normal`` could be for less, at the price of later news.
CASES = {
    "normal": Case({}, 30.0, 40.0),
    "sparing": Case({"agent": ("heartbeat_seconds = 120",), "sampling": ("flush_seconds = 600",)}, 30.0, 40.0),
    "metered": Case({"agent": ('profile = "metered"',)}, 10.0),
}


async def main() -> None:
    print(f"an idle device over TLS, {MINUTES:g} minutes, {HEADER_BYTES} bytes a segment counted in")
    for name in os.environ.get("CASE", "").split() or CASES:
        await _measure(name, CASES[name])


async def _measure(name: str, case: Case) -> None:
    async with _device(case) as (fleet, cable, card):
        await asyncio.sleep(SETTLE_SECONDS)
        link, disk = cable.wire_bytes(), card.written(fleet)
        await asyncio.sleep(MINUTES * 60)
        idle = (cable.wire_bytes() - link) / (MINUTES * 60)
        written = (card.written(fleet) - disk) / (MINUTES * 60)
        lost = _lost_seconds(fleet)
        reconnect, query = await _reconnect(fleet, cable), await _query(cable)
    month = idle * MONTH_SECONDS + 10 * reconnect + 30 * query
    print(f"  {name}{''.join(f', {section}.{line}' for section, lines in case.settings.items() for line in lines)}")
    print(f"    link, idle {idle:8.2f} bytes/s, a reconnect {reconnect:6.0f} bytes, a query {query:5.0f} bytes")
    print(
        f"    link, MB a month {month / MEGA:16.1f}   promised {case.link_promised:g}   {month / MEGA / case.link_promised:.2f}x"
    )
    day = written * DAY_SECONDS / MEGA
    beside = f"   promised {case.card_promised:g}   {day / case.card_promised:.2f}x" if case.card_promised else ""
    print(f"    card, MB a day {day:18.1f}{beside}   ({card.how})")
    print(f"    a power cut loses the samples of at most {lost:g} s, and of programs those of {SYNC_SECONDS:g} s")


def _lost_seconds(fleet: DemoFleet) -> float:
    """Samples wait to be written for so long, and what is written to be synchronised."""
    own = settings.load_own(fleet.folder.settings(fleet.devices[0].id))
    return float(lastgood.effective(own, "pi-01", [], {})["sampling.flush_seconds"].value) + SYNC_SECONDS


class CountingCable(Cable):
    """A cable that knows what the bytes it carries would be on a wire."""

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(target)
        self._sockets: list[socket.socket] = []
        self._segments = 0

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._sockets.append(writer.get_extra_info("socket"))
        super()._accepted(reader, writer)

    def wire_bytes(self) -> int:
        """Both ways, headers included. The loopback's segments are larger than a wire's: those would be as many as are needed."""
        carried = self.bytes_out + self.bytes_back
        return carried + HEADER_BYTES * max(self._segments + sum(map(_segments, self._sockets)), carried // SEGMENT_BYTES)

    async def cut(self, *, silent: bool = False) -> None:
        self._segments += sum(map(_segments, self._sockets))
        self._sockets = []
        await super().cut(silent=silent)


def _segments(one: socket.socket) -> int:
    with contextlib.suppress(OSError):
        return sum(_SEGMENTS.unpack_from(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), _SEGMENTS_AT))
    return 0


class Card:
    """Where the device keeps its state. how: what :meth:`written` counts."""

    def __init__(self, device: str = "") -> None:
        self._device = device
        self.how = "sectors of a block device" if device else "/proc/PID/io: without the file system's own"

    def written(self, fleet: DemoFleet) -> int:
        """Bytes since whenever."""
        if self._device:
            os.sync()
            return int(Path(f"/sys/block/{self._device}/stat").read_text().split()[6]) * SECTOR_BYTES
        folder, name = fleet.folder, fleet.devices[0].id
        files = (Path(f"{folder.device(name)}.run") / "agent.pid", folder.device(name) / "leaf.pid")
        return sum(_process_wrote(int(file.read_text())) for file in files)


def _process_wrote(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


@contextlib.contextmanager
def _card(folder: Path) -> Iterator[Card]:
    """Mount a file system of its own at ``folder``, if we may."""
    folder.mkdir(parents=True)
    image = folder.with_suffix(".img")
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        yield Card()
        return
    with image.open("wb") as file:
        file.truncate(CARD_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop,noatime", str(image), str(folder)], check=False).returncode:
        yield Card()
        return
    folder.chmod(0o700)
    try:
        source = subprocess.run(["findmnt", "-no", "SOURCE", str(folder)], check=True, capture_output=True, text=True).stdout
        yield Card(Path(source.strip()).name)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


class _Folder(DemoFolder):
    def __init__(self, path: Path, case: Case) -> None:
        super().__init__(path)
        self._lines = {section: "\n".join(lines) for section, lines in case.settings.items()}

    def settings_text(self, device: DemoDevice, *, leaf_port: int, cable_port: int, pace: Pace = SHIPPED) -> str:
        """As shipped: only what must be otherwise on this machine is said. What need not outlive a boot is in memory, as /run is."""
        return f"""[device]
id = "{device.id}"
[hub]
urls = ["tls://127.0.0.1:{cable_port}"]
[leaf]
port = {leaf_port}
[agent]
{self._lines.get("agent", "")}
[sampling]
{self._lines.get("sampling", "")}
[paths]
state = "."
runtime = "{self.device(device.id)}.run"
"""


class _Fleet(DemoFleet):
    """One device behind TLS, and a counting cable."""

    def _make_hub(self, hub: HubFolder) -> None:
        options = HubOptions(
            name=CONTEXT, client_port=ports.pick(), leaf_port=ports.pick(), store_max_bytes=512 << 20, tls="self"
        )
        make(hub, options, ADMIN, passphrase=None, keys=self.folder.keys)

    def _cable(self, target: tuple[str, int]) -> Cable:
        return CountingCable(target)


@contextlib.asynccontextmanager
async def _device(case: Case) -> AsyncIterator[tuple[DemoFleet, CountingCable, Card]]:
    with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as name:
        for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
            os.environ[variable] = str(Path(name) / variable.lower())
        folder = _Folder(Path(name) / "demo", case)
        device = DemoDevice(id="pi-01", groups=(), labels={})
        with _card(folder.device(device.id)) as card:
            fleet = _Fleet(folder, [device], SHIPPED)
            try:
                await fleet.start()
                await until("it is online", lambda outcome: len(outcome.answered) == 1)
                cable = fleet.cables[device.id]
                assert isinstance(cable, CountingCable)
                yield fleet, cable, card
            finally:
                await fleet.close()


async def _reconnect(fleet: DemoFleet, cable: CountingCable) -> float:
    """Bytes of one, with all that follows it."""
    before = cable.wire_bytes()
    for _ in range(RECONNECTS):
        await cable.cut()
        await until("it is offline", lambda outcome: len(outcome.offline) == 1)
        await cable.restore()
        await until("it is back", lambda outcome: len(outcome.answered) == 1)
        await asyncio.sleep(5)
    return (cable.wire_bytes() - before) / RECONNECTS


async def _query(cable: CountingCable) -> float:
    before = cable.wire_bytes()
    async with Fleet() as operator:
        for _ in range(QUERIES):
            await operator.query("memory.utilization >= 0.0", select=["kernel", "memory"], timeout=10.0)
    await asyncio.sleep(1)
    return (cable.wire_bytes() - before) / QUERIES
