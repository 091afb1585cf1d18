"""What measuring costs: the processor's time of a round, and the bytes of what is stored and sent, beside the same without the dictionary."""

from __future__ import annotations

import asyncio
import tempfile
import time
import zlib
from pathlib import Path
from statistics import median

from edgeagent.builtin import collectors as builtin_collectors
from edgeagent.chunk import unpack
from edgeagent.collectors import Round
from edgeagent.machine import Machine
from edgeagent.patterns.collecting import Collecting
from edgeagent.patterns.collectorhealth import Healths
from edgeagent.sample import encode_samples
from edgeagent.settings import Settings
from tests.support.measuring import chunk_of, rounds

ROUNDS = 40
MONTH_SECONDS = 30 * 86400


async def main() -> None:
    assert builtin_collectors.__path__
    took, series = await _rounds()
    print(f"a round of all collectors on this machine, of {ROUNDS} ({series} samples)")
    print(f"  {'CPU':<38} {took * 1000:6.2f} ms, {took / 30 * 100:.3f} % of a core every 30 s")
    _bytes("default profile: 30 s, sent each minute", 30.0, 2)
    _bytes("metered: 300 s, sent each half hour", 300.0, 6)


async def _rounds() -> tuple[float, int]:
    """Seconds of the processor's time that the median round takes, and its samples."""
    collecting = Collecting(Healths(lambda *told, **data: None))
    times, samples = [], 0
    for _ in range(ROUNDS):
        given = Round(machine=Machine(), settings=Settings(), clock=time.monotonic())
        before = time.process_time()
        samples = len(await collecting.run(given))
        times.append(time.process_time() - before)
        await asyncio.sleep(0.05)
    return median(times), samples


def _bytes(what: str, interval_seconds: float, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = list(rounds(Path(folder), count, interval_seconds))
    message, chunk = len(encode_samples(found[0])), chunk_of(found, interval_seconds)
    plain = unpack(chunk)
    a_month = MONTH_SECONDS / (interval_seconds * count)
    print(f"a usual Pi ({len(found[0])} series), {what}")
    print(f"  {'message in the local store':<38} {message:6} bytes")
    print(
        f"  {f'chunk of {count} rounds':<38} {len(chunk):6} bytes, without the dictionary {len(zlib.compress(plain, 9))}, plain {len(plain)}"
    )
    print(f"  {'chunks a month, without what carries them':<38} {len(chunk) * a_month / 1e6:6.2f} MB")
