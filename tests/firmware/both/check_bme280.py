import asyncio

import fakebme280
import fakemachine

fakemachine.install()
import sensors  # noqa: E402


def opened(chip, address=None):
    fakemachine.buses[(4, 5)] = {0x76: chip} if chip else {}
    return sensors.find("bme280").make(sda=4, scl=5, address=address)


def why(chip, address=None):
    try:
        asyncio.run(opened(chip, address).read())
    except OSError as error:
        return str(error)
    raise AssertionError("no error")


def calibration():
    chip = fakebme280.Chip()
    return opened(chip)._calibration


def test_the_example_of_the_datasheet():
    found = calibration()
    fine = found.fine(fakebme280.RAW_T)
    assert fine == 128422
    assert found.celsius(fine) == 25.08
    assert found.pascals(fakebme280.RAW_P, fine) == 100653


def test_the_formulas_for_integers_and_for_floats_agree():
    found = calibration()
    for raw_t in (380000, 450000, 519888, 560000, 620000):  # -18 to 56 degrees
        fine = found.fine(raw_t)
        for raw_p, raw_h in ((300000, 20000), (415148, 27000), (500000, 33000), (350000, 40000)):
            celsius, pascals, percent = fakebme280.by_floats(raw_t, raw_p, raw_h)
            assert abs(found.celsius(fine) - celsius) < 0.011, (raw_t, celsius)
            assert abs(found.pascals(raw_p, fine) - pascals) < 2.5, (raw_p, pascals)
            assert abs(found.humidity(raw_h, fine) * 100 - percent) < 0.03, (raw_h, percent)


def test_negative_parts_of_the_calibration_are_read_as_such():
    h = (75, -370, 7, -313, -50, -30)
    assert opened(fakebme280.Chip(h=h))._calibration._h == h


def test_it_measures_when_it_is_asked():
    chip = fakebme280.Chip()
    sensor = opened(chip)
    found = asyncio.run(sensor.read())
    assert found["temperature"] == 25.08 and found["pressure"] == 100653 and 0.4 < found["humidity"] < 0.6
    assert chip.registers[0xF4] == 0x25  # forced, each once
    chip.raw = (500000, 400000, 0)
    assert asyncio.run(sensor.read())["temperature"] != 25.08


def test_a_bmp280_has_no_humidity():
    assert sorted(asyncio.run(opened(fakebme280.Chip(0x58)).read())) == ["pressure", "temperature"]


def test_what_is_wrong_is_said():
    assert "nothing answers at 118 or 119" in why(None)
    assert "nothing answers at 119:" in why(fakebme280.Chip(), 0x77)
    assert "its id is 85" in why(fakebme280.Chip(0x55))
    broken = fakebme280.Chip()
    broken.registers[0x88:0xA0] = b"\xff" * 24
    assert "calibration can't be read" in why(broken)
    stuck = fakebme280.Chip()
    stuck._measure = lambda: setattr(stuck, "busy", 1000)
    assert "does not end" in why(stuck)
    mute = fakebme280.Chip()
    mute._measure = lambda: None
    assert "measured nothing" in why(mute)
