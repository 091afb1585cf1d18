"""Readings of this boot and of earlier ones: numbered, kept over resets, dropped in order and counted."""

import os

import kept
import store as store_module
from store import AWAY_MS, PAUSE_MS, Store
from ticks import ticks_add


class Dice:
    """Of a board whose random numbers are none."""

    @staticmethod
    def urandom(count):
        return bytes([7] * count)


#: Bytes in the ring of a reading such as {"n":123} at 0 ms.
ENTRY = 13
_folders = []


def made(now, place="", ring_bytes=6 << 10, **options):
    """Several of them share a heap that is made for one."""
    return Store(now, place, ring_bytes=ring_bytes, **options)


def folder():
    _folders.append("kept%d" % len(_folders))
    return _folders[-1]


def filled(store, count, now=0, first=1):
    for number in range(first, first + count):
        store.put({"n": number}, now)
    return store


def numbers(store, now=0):
    """All that it has, delivered and acknowledged, as (boot, number, value)."""
    found = []
    while store.oldest <= store.newest:
        some = store.after(store.oldest - 1, 16, now)
        if not some:
            break
        boot = store.boot
        found += [(boot, seq, values["n"]) for seq, values, _ in some]
        store.ack(boot, some[-1][0])
    return found


def spilled(store, now):
    """It waits, away, until it writes no more. Returns the time."""
    now += AWAY_MS + 1
    while store.spill(now):
        now += PAUSE_MS
    return now


def spilled_all(store, count):
    assert filled(store, count).save()
    return store


def damage(path, at, keep=None):
    with open(path, "rb") as file:
        data = bytearray(file.read())
    data[at] ^= 1
    with open(path, "wb") as file:
        file.write(data if keep is None else data[:keep])


def path_of(place, first):
    return place + "/" + next(name for name in os.listdir(place) if name.split(".")[2] == str(first))


def test_a_boot_counts_from_one_and_forgets_what_is_acknowledged():
    store = filled(made(0), 40)
    assert (store.oldest, store.newest, store.lost) == (1, 40, 0)
    assert [each[0] for each in store.after(0, 16, 0)] == list(range(1, 17))
    assert store.ack(store.boot, 20) and store.oldest == 21
    assert not store.ack(store.boot, 20) and not store.ack(store.boot, 41) and not store.ack("other", 30)
    assert [each[0] for each in store.after(20, 99, 0)] == list(range(21, 41))
    assert store.ack(store.boot, 40) and store.oldest == 41 and store.after(40, 16, 0) == []


def test_a_full_ring_drops_the_oldest_and_counts_them():
    store = filled(made(0, ring_bytes=50 * ENTRY), 80, first=100)
    assert (store.oldest, store.newest, store.lost) == (31, 80, 30)
    assert [each[2] for each in numbers(store)] == list(range(130, 180))


def test_what_waits_goes_to_flash_in_few_files_and_never_one_by_one():
    place = folder()
    store = made(0, place)
    filled(store, 31)
    assert not store.spill(AWAY_MS * 10) and place not in os.listdir(".")
    filled(store, 100, AWAY_MS * 10, first=32)
    assert store.spill(AWAY_MS * 10) and not store.spill(AWAY_MS * 10)
    assert store.spill(AWAY_MS * 11 + 1) and len(os.listdir(place)) == 2
    assert numbers(store) == [(store.boot, number, number) for number in range(1, 132)]
    assert os.listdir(place) == []


def test_what_is_taken_within_half_a_minute_never_costs_flash():
    place = folder()
    store, now = made(0, place), 0
    for number in range(300):
        now += 1000
        store.put({"n": number}, now)
        store.spill(now)
        if number % 25 == 24:
            store.ack(store.boot, store.newest)
    assert place not in os.listdir(".")


def test_what_is_being_taken_stays_in_memory_however_old():
    place = folder()
    store, now = filled(made(0, place), 100), AWAY_MS * 4
    store.ack(store.boot, 1)
    for last in range(2, 60):
        now += 5000
        store.spill(now - 4000)
        store.after(store.oldest - 1, 16, now)
        store.ack(store.boot, last)
    assert place in os.listdir(".") and len(os.listdir(place)) == 1, "only before the first one was taken"


def test_a_ring_that_is_nearly_full_does_not_wait():
    place = folder()
    store = filled(made(0, place, ring_bytes=200 * ENTRY), 150, first=100)
    assert store.spill(PAUSE_MS) and len(os.listdir(place)) == 1


def test_kept_readings_keep_their_boot_and_come_first():
    place = folder()
    one = filled(made(0, place), 70)
    assert one.save()
    two = filled(made(0, place), 10, first=1000)
    assert two.boot == one.boot and (two.oldest, two.newest) == (1, 70)
    assert two.ack(one.boot, 64) and two.oldest == 65
    two.save()
    three = made(0, place)
    found = numbers(three)
    assert found[:6] == [(one.boot, number, number) for number in range(65, 71)]
    assert [each[1:] for each in found[6:]] == [(number, number + 999) for number in range(1, 11)]
    assert len({each[0] for each in found}) == 2 and three.boot not in (one.boot, found[-1][0]) and os.listdir(place) == []


def test_an_earlier_boot_ends_though_the_agent_has_more_of_it_than_was_kept():
    place = folder()
    one = filled(made(0, place), 40)
    one.save()
    two = made(0, place)
    assert two.ack(one.boot, 55) and two.boot != one.boot
    place = folder()
    one = spilled_all(made(0, place, kept_readings=64), 128)
    two = made(0, place)
    assert two.ack(one.boot, 200) and two.is_untold and two.oldest == 129


def test_numbers_that_were_in_memory_only_are_not_waited_for():
    place = folder()
    one = filled(made(0, place), 100)
    assert one.spill(AWAY_MS + 1)
    two = made(0, place)
    assert (two.boot, two.newest) == (one.boot, 64) and two.ack(one.boot, 64) and two.boot != one.boot


def test_of_too_many_the_oldest_file_goes_and_is_counted_over_resets():
    place = folder()
    one = filled(made(0, place, kept_readings=128), 150)
    spilled(filled(one, 42, first=151), 0)
    assert (one.oldest, one.lost) == (65, 64) and len(os.listdir(place)) == 2
    two = filled(made(0, place, kept_readings=128), 64, first=1000)
    assert (two.boot, two.oldest, two.newest, two.lost) == (one.boot, 65, 192, 64)
    spilled(two, 0)
    assert (two.boot, two.oldest, two.lost) == (one.boot, 129, 128)
    three = filled(made(0, place, kept_readings=128), 128, first=2000)
    spilled(three, 0)
    assert (three.boot, three.oldest, three.newest, three.lost, three.is_untold) == (one.boot, 193, 192, 192, True)
    four = made(0, place, kept_readings=128)
    assert (four.boot, four.is_untold, four.lost) == (one.boot, True, 192), "the loss is told, though nothing is left"
    assert not four.ack(one.boot, 192) and four.boot == one.boot
    four.told()
    assert four.boot != one.boot


def test_a_boot_is_never_called_as_one_that_is_kept():
    assert int(store_module._new_id([]), 16) < 1 << 32
    urandom = store_module.os
    store_module.os = Dice
    try:
        assert [store_module._new_id(known) for known in ([], ["07070707"], ["07070707", "08070707"])] == [
            "07070707",
            "08070707",
            "09070707",
        ]
    finally:
        store_module.os = urandom


def test_what_was_lost_is_told_after_a_reset_too():
    place = folder()
    one = spilled_all(made(0, place, kept_readings=64), 128)
    two = made(0, place)
    assert two.ack(one.boot, 128) and two.is_untold and len(os.listdir(place)) == 1
    three = made(0, place)
    assert (three.boot, three.lost) == (one.boot, 64) and three.ack(one.boot, 128)
    three.told()
    assert three.boot != one.boot and os.listdir(place) == []


def test_there_are_not_more_boots_than_the_agent_could_tell_apart():
    place = folder()
    for _ in range(kept.MAX_BOOTS * 2):
        filled(made(0, place), 3).save()
    store = made(0, place)
    assert len({name.split(".")[1] for name in os.listdir(place)}) <= kept.MAX_BOOTS
    found = lost = 0
    for _ in range(kept.MAX_BOOTS + 1):
        found, lost = found + len(numbers(store)), lost + store.lost
        store.told()
    assert store.newest == 0 and lost > 0 and found + lost == kept.MAX_BOOTS * 2 * 3


def test_a_torn_file_is_dropped_as_a_whole_and_counted():
    for keep in (0, 1, 300, -1):
        place = folder()
        one = filled(made(0, place), 128)
        one.save()
        damage(path_of(place, 65), 0 if keep == 0 else 5, keep)
        two = made(0, place)
        assert numbers(two) == [(one.boot, number, number) for number in range(1, 65)]
        assert two.is_untold and (two.oldest, two.lost) == (129, 64)


def test_a_file_with_one_wrong_bit_is_never_read():
    place = folder()
    one = filled(made(0, place), 33)
    one.save()
    path = path_of(place, 1)
    size = os.stat(path)[6]
    for at in range(0, size, 7):
        damage(path, at)
        store = made(0, place)
        assert store.after(0, 16, 0) == [] and store.lost == 33, at
        damage(path, at)
    assert len(made(0, place).after(0, 16, 0)) == 16


def test_foreign_files_do_no_harm():
    place = folder()
    os.mkdir(place)
    for name in ("x", "1.zz.1.1", "1.ab.0.5", "-1.ab.1.5", "1.ab.1.99999999", "a.b.c.d", "1.ab.1.1.tmp", "7.abcd.1.9"):
        with open(place + "/" + name, "w") as file:
            file.write("[")
    store = made(0, place)
    assert (store.boot, store.newest) == ("abcd", 9) and store.after(0, 16, 0) == [] and store.lost == 9
    store.told()
    assert store.newest == 0 and len(os.listdir(place)) == 7
    store.told()
    assert store.boot != "abcd"


def test_when_flash_takes_nothing_readings_stay_in_memory_and_that_is_said():
    place = folder()
    with open(place, "w") as file:
        file.write("a file where the folder should be")
    store = filled(made(0, place), 100)
    assert not store.spill(AWAY_MS + 1) and "cannot keep readings in flash" in store.problem
    assert numbers(store) == [(store.boot, number, number) for number in range(1, 101)]


def test_room_for_updates_stays_free():
    place = folder()
    store = filled(made(0, place), 64)
    before, kept.RESERVE = kept.RESERVE, 1 << 60
    try:
        os.mkdir(place)
        assert not store.save() and "full" in store.problem and len(store.after(0, 99, 0)) == 64
    finally:
        kept.RESERVE = before
    assert store.save() and store.problem == ""


def test_a_hole_between_flash_and_ring_is_passed_and_counted():
    place = folder()
    store = filled(made(0, place, ring_bytes=200 * ENTRY), 32, first=101)
    store.save()
    filled(store, 250, first=133)
    assert (store.oldest, store.newest, store.lost) == (1, 282, 50)
    store.save()
    again = made(0, place)
    found = list(range(1, 33)) + list(range(83, 283))
    assert (again.boot, again.lost) == (store.boot, 50)
    assert [each[1] for each in numbers(store)] == found
    assert [each[1] for each in numbers(again)] == []  # its files are gone by now


def test_a_hole_is_passed_after_a_reset_too():
    place = folder()
    one = filled(made(0, place, ring_bytes=200 * ENTRY), 32, first=101)
    one.save()
    filled(one, 250, first=133)
    one.save()
    two = made(0, place)
    assert [each[1] for each in numbers(two)] == list(range(1, 33)) + list(range(83, 283)) and two.is_untold and two.lost == 50


def test_ages_are_right_beyond_the_wrap_of_ticks():
    now = ticks_add(0, -5000)
    store = made(now)
    store.put({"n": 1}, now)
    day = 86400000
    for _ in range(5 * 4):
        now = ticks_add(now, day // 4)
        store.spill(now)
    assert store.after(0, 1, now)[0][2] == 5 * day


def test_the_age_of_what_was_kept_comes_from_unix_time_or_is_not_said():
    cases = (
        (1700000000000, 1700000100000, 105000),
        (None, 1700000100000, None),
        (1700000000000, None, None),
        (1700000000000, 5, 0),
    )
    for before, after, age in cases:
        place = folder()
        one = made(1000, place)
        one.put({"n": 1}, 1000)
        if before:
            one.know_time(before, 1000)
        assert one.save()
        two = made(77, place)
        if after:
            two.know_time(after, 77)
        assert two.after(0, 1, 5077)[0][2] == age


def test_no_memory_for_a_file_costs_no_reading():
    def fails(*_):
        raise MemoryError("memory allocation failed")

    store = filled(made(0, folder()), 70)
    store._kept._write = fails
    assert not store.spill(AWAY_MS + 1) and "memory" in store.problem
    assert [number for _, number, _ in numbers(store)] == list(range(1, 71)) and not store.lost
