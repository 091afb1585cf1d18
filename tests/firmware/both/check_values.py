"""What is measured becomes readings that the agent takes, and that fit into a frame."""

import json

import frames
import values
from ring import Ring


def measured(table):
    parts, left_out = values.readings(table)
    return [json.loads(each) for each in parts], left_out


def test_numbers_and_texts_are_one_reading():
    assert measured({"temperature": 21.5, "open": True, "room": "hall"}) == (
        [{"temperature": 21.5, "open": True, "room": "hall"}],
        0,
    )
    assert measured({}) == ([], 0)


def test_what_no_agent_would_take_is_left_out_and_counted():
    table = {
        "a": float("nan"),
        "b": float("inf"),
        "c": -float("inf"),
        "d": None,
        "e": b"x",
        "f": [1],
        "0g": 1,
        "": 1,
        "x" * 65: 1,
        "h h": 1,
    }
    table.update({5: 1, "ok": 1, "n\n": 1})
    assert measured(table) == ([{"ok": 1}], 12)


def test_an_integer_that_is_too_large_is_sent_as_a_float_or_not_at_all():
    (found,), left_out = measured({"a": 1 << 60, "b": (1 << 53) - 1, "c": -(1 << 70)})
    assert left_out == 0 and isinstance(found["a"], float) and isinstance(found["c"], float) and found["b"] == (1 << 53) - 1
    assert measured({"a": 10**400}) == ([], 1)


def test_too_many_values_are_several_readings():
    table = {"value%03d" % number: number + 0.123456 for number in range(100)}
    table["room"] = "hall"
    found, left_out = measured(table)
    assert left_out == 0 and len(found) >= 3 and all(each.pop("room") == "hall" for each in found)
    together = {}
    for each in found:
        assert len(frames.dumps(each)) <= values.ROOM and len(each) <= values.MAX_VALUES and not set(each) & set(together)
        together.update(each)
    assert set(together) == set(table) - {"room"}


def test_the_longest_text_is_cut_and_numbers_stay():
    (found,), _ = measured({"n": 1, "short": "abc", "long": "\u00e4" * 5000, "longer": "x\x00" * 5000})
    assert found["n"] == 1 and found["short"] == "abc"
    assert 0 < len(found["long"]) <= 200 and 0 < len(found["longer"]) <= 200
    (found,), left_out = measured(dict([("text%d" % number + "x" * 50, "\u00e4" * 300) for number in range(40)] + [("n", 1)]))
    assert found["n"] == 1 and left_out == 25 and len(frames.dumps(found)) < values.ROOM


def test_the_longest_reading_fits_with_all_around_it():
    names = ["n" * 60 + "%03d" % number for number in range(60)]
    parts, _ = values.readings(dict([(name, -1.2345678e-30) for name in names] + [("t", "x" * 5000)]))
    for part in parts:
        most = (1 << 53) - 1
        frames.encode({"t": "r", "b": "0" * 16, "s": most, "o": most, "v": json.loads(part), "a": 30 * 86400000})


def test_answers_are_made_plain():
    deep = value = []
    for _ in range(50):
        value.append([])
        value = value[0]
    found = values.plain({"a": float("nan"), "b": (1, b"x", None), 3: {"c": deep}})
    assert found["a"] is None and found["b"] == [1, None, None] and "3" in found
    assert len(frames.dumps(found)) < 100


def test_a_ring_keeps_the_newest_within_its_bytes():
    ring, kept = Ring(331), []
    for number in range(500):
        entry = b"%d" % number * (number % 60)
        kept.append(entry)
        for _ in range(ring.push(entry)):
            assert sum(len(each) + 2 for each in kept) > 331
            kept.pop(0)
        assert sum(len(each) + 2 for each in kept) <= 331
        if number % 5 == 0:
            ring.pop()
            kept.pop(0)
        assert ring.some(0, 999) == kept and len(ring) == len(kept) and ring.some(2, 3) == kept[2:5]
    while kept:
        ring.pop()
        kept.pop(0)
        assert ring.some(0, 1) == kept[:1]
    assert not ring.is_filling and ring.push(b"x" * 329) == 0 and ring.is_filling and ring.some(0, 9) == [b"x" * 329]
    assert ring.push(b"y") == 1 and ring.some(0, 9) == [b"y"]
