import fakemachine

fakemachine.install()
import sensors  # noqa: E402
from checks import fields  # noqa: E402
from ticks import ticks_add  # noqa: E402


def opened(kind, **given):
    fakemachine.install()
    found = sensors.find(kind)
    options, problems = fields(found.options, given)
    assert not problems, problems
    return found.make(**options)


def test_each_file_is_a_kind():
    assert sensors.names() == ["adc", "bme280", "chip", "digital"]
    for name in sensors.names():
        assert sensors.find(name).make


def test_no_such_kind():
    for name in ("dht22", "__init__", "../app", "a.b", ""):
        try:
            sensors.find(name)
        except ValueError:
            continue
        raise AssertionError(name)


def test_the_chip_is_warm():
    sensor = opened("chip")
    fakemachine.inputs[("adc", 4)] = int(0.706 / 3.3 * 65535)
    assert abs(sensor.read()["temperature"] - 27) < 0.1
    fakemachine.inputs[("adc", 4)] = int((0.706 - 10 * 0.001721) / 3.3 * 65535)
    assert abs(sensor.read()["temperature"] - 37) < 0.1


def test_volts_and_what_they_stand_for():
    sensor = opened("adc", pin=26)
    fakemachine.inputs[("adc", 26)] = 65535
    assert abs(sensor.read()[""] - 3.3) < 0.001
    sensor = opened("adc", pin=27, scale=10, offset=-1)
    fakemachine.inputs[("adc", 27)] = 32768
    assert abs(sensor.read()[""] - 15.5) < 0.01


def test_contacts_bounce():
    sensor = opened("digital", pin=14, pull="up")
    now = sensor._since
    assert sensor.read() == {"": 1}
    for at in range(10):  # every 10 ms another value: nothing is sure yet
        fakemachine.inputs[14] = at % 2
        now += 10
        assert not sensor.changed(now)
        assert sensor.read() == {"": 1}
    fakemachine.inputs[14] = 0
    changes = [sensor.changed(now + at) for at in range(10, 60, 10)]
    assert changes.index(True) == 3  # seen at 10, steady for 30
    assert sensor.read() == {"": 0}
    assert not sensor.changed(now + 300)


def test_what_flutters_is_bounded_and_its_end_is_told():
    sensor = opened("digital", pin=14, debounce_ms=0)
    now, told = sensor._since, 0
    for at in range(1, 1001):  # a second, another value every millisecond
        fakemachine.inputs[14] = at % 2
        if sensor.changed(now + at):
            told += 1
            sensor.read()
    assert 5 <= told <= 10, told
    fakemachine.inputs[14] = 1
    ends = []
    for at in range(1001, 1300):
        if sensor.changed(now + at):
            ends.append(sensor.read()[""])
    assert sensor.read() == {"": 1} and len(ends) <= 1


def test_a_change_after_a_week_is_told_at_once():
    sensor = opened("digital", pin=14, debounce_ms=0)
    then = ticks_add(sensor._since, 7 * 86400000)
    fakemachine.inputs[14] = 1 - sensor.read()[""]
    assert sensor.changed(then) and sensor.read() == {"": fakemachine.inputs[14]}


def test_inverted():
    fakemachine.install()
    sensor = opened("digital", pin=14, inverted=True)
    assert sensor.read() == {"": 1}
