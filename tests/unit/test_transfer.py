"""What both ends agree about files in pieces, and how pieces are moved."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from edgeagent import transfer
from edgeagent.errors import Failed, Unreachable
from edgeagent.patterns.pieces import moved
from edgeagent.transfer import PIECE_BYTES, HandedOver, Pace, length_of, pieces_of


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 10 * PIECE_BYTES + 7])
def test_the_pieces_of_a_file_are_all_of_it(size: int) -> None:
    lengths = [length_of(number, size) for number in range(1, pieces_of(size) + 1)]
    assert sum(lengths) == size and set(lengths[:-1]) <= {PIECE_BYTES} and all(0 < length <= PIECE_BYTES for length in lengths)


def test_an_upload_has_a_name_of_its_own() -> None:
    names = {transfer.new_upload() for _ in range(100)}
    assert len(names) == 100 and all(transfer.is_upload(name) for name in names)
    assert not any(transfer.is_upload(name) for name in ("", "*", "A" * 32, "a" * 31, "a" * 33, "a" * 31 + ".", "a" * 32 + "\n"))


GOOD = {"upload": "a" * 32, "bytes": 10, "sha256": "b" * 64, "pieces": 1, "first": 7}


@pytest.mark.parametrize(
    "change",
    [{"upload": "x"}, {"bytes": -1}, {"pieces": 2}, {"sha256": "b"}, {"first": -1}, {"bytes": 1 << 60, "pieces": 1 << 44}],
    ids=str,
)
def test_a_file_that_makes_no_sense_is_none(change: dict[str, Any]) -> None:
    assert msgspec.convert(GOOD, HandedOver).first == 7
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**GOOD, **change}, HandedOver)


def test_a_quick_link_has_many_under_way_and_a_slow_one_one() -> None:
    pace = Pace()
    for _ in range(20):
        pace.arrived(0.1)
    assert pace.at_once == 8 and pace.seconds == 10
    for _ in range(20):
        pace.arrived(5)
    assert pace.at_once == 1
    pace.lost(0.01)  # nobody was there: it says nothing of how long a piece takes
    assert pace.seconds == 10
    for _ in range(9):
        pace.lost(pace.seconds)
    assert pace.seconds == 120 and pace.at_once == 1


async def collected(items: Any, move: Any, **more: Any) -> list[Any]:
    async with aclosing(moved(items, move, **more)) as found:
        return [item async for item in found]


async def test_what_comes_out_of_order_is_given_in_order() -> None:
    under_way, most = 0, 0
    gate = asyncio.Event()

    async def move(number: int, seconds: float) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if number == 20:
            await gate.wait()
        if number == 25:
            gate.set()
        await asyncio.sleep(0)
        under_way -= 1
        return number

    assert await collected(range(100), move) == list(range(100))
    assert 1 < most <= 8


async def test_what_is_lost_is_moved_again() -> None:
    tries: dict[int, int] = {}

    async def move(number: int, seconds: float) -> int:
        tries[number] = tries.get(number, 0) + 1
        if tries[number] < 3 and number % 4 == 0:
            raise Unreachable("move it", "the link is away")
        return number

    assert await collected(range(9), move) == list(range(9))
    assert tries == {number: 3 if number % 4 == 0 else 1 for number in range(9)}


async def test_it_gives_up_after_so_many_tries() -> None:
    tries = 0

    async def move(number: int, seconds: float) -> int:
        nonlocal tries
        tries += 1
        raise Unreachable("move it", "the link is away")

    with pytest.raises(Unreachable):
        await collected(range(9), move, tries=3)
    assert tries == 3


async def test_an_error_ends_it_and_what_is_under_way() -> None:
    ended: list[int] = []

    async def move(number: int, seconds: float) -> int:
        if number < 10:
            return number
        if number == 10:
            raise Failed("move it", "there is none")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)
        return number

    before = asyncio.all_tasks()
    with pytest.raises(Failed, match="there is none"):
        await collected(range(100), move)
    assert ended and asyncio.all_tasks() == before
