"""What devices sent is told in the order of its times, within bounds, and what came too late is counted."""

from __future__ import annotations

import random
from typing import NamedTuple

from edgeagent.fleet.leftout import LeftOut
from edgeagent.fleet.timewindow import Window


class Item(NamedTuple):
    device: str
    time_ms: int
    size: int = 1


def run(window: Window[Item], chunks: list[list[Item]]) -> list[Item]:
    found = [item for chunk in chunks for item in window.add(chunk)]
    return found + window.rest()


def test_a_backlog_of_any_length_between_new_ones_comes_out_in_order() -> None:
    left = LeftOut()
    live = [[Item("pi-01", 100_000 + number)] for number in range(20)]
    backlog = [[Item("pi-01", number * 10 + each) for each in range(10)] for number in range(200)]
    chunks = [*live[:1], *(chunk for pair in zip(backlog[:19], live[1:], strict=True) for chunk in pair), *backlog[19:]]
    found = run(Window(left, 50), chunks)
    assert found == sorted(found) and len(found) == 2020 and left.late == 0


def test_nothing_is_lost_or_told_twice_whatever_comes() -> None:
    rng = random.Random(7)
    items = [Item(rng.choice(("pi-01", "pi-02")), rng.randrange(1000), number) for number in range(3000)]
    left = LeftOut()
    found = run(Window(left, 100), [items[start : start + 37] for start in range(0, 3000, 37)])
    assert sorted(found) == sorted(items) and left.late > 0


def test_the_window_holds_no_more_than_twice_its_size() -> None:
    window = Window[Item](LeftOut(), 10)
    held = 0
    for number in range(1000):
        held += 1 - len(window.add([Item("pi-01", number)]))
        assert held < 20


def test_only_what_stands_behind_newer_ones_of_its_own_device_is_late() -> None:
    left = LeftOut()
    window = Window[Item](left, 2)
    found = run(window, [[Item("pi-01", 10), Item("pi-01", 11), Item("pi-01", 12), Item("pi-01", 13)], [Item("pi-02", 1)]])
    assert [item.time_ms for item in found] == [10, 11, 1, 12, 13] and left.late == 0
    left = LeftOut()
    found = run(Window(left, 2), [[Item("pi-01", 10 + number) for number in range(4)], [Item("pi-01", 1)]])
    assert [item.time_ms for item in found] == [10, 11, 1, 12, 13] and left.late == 1


def test_large_items_take_more_of_the_room() -> None:
    window = Window[Item](LeftOut(), 100, lambda item: item.size)
    assert window.add([Item("pi-01", 2, 90)]) == [] and window.add([Item("pi-01", 1, 60)]) == []
    assert window.add([Item("pi-01", 3, 60)]) == [Item("pi-01", 1, 60), Item("pi-01", 2, 90)]
    assert window.rest() == [Item("pi-01", 3, 60)] and window.rest() == []
