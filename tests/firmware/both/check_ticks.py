import ticks


def test_ticks_wrap():
    now = ticks.ticks_ms()
    assert ticks.ticks_diff(ticks.ticks_add(now, 1500), now) == 1500
    assert ticks.ticks_diff(now, ticks.ticks_add(now, (1 << 29) - 1)) == -((1 << 29) - 1)
    assert ticks.ticks_diff(ticks.ticks_add((1 << 30) - 1, 1), (1 << 30) - 1) == 1
