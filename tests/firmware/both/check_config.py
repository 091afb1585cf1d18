import json
import os

import fakemachine

fakemachine.install()
import config  # noqa: E402
import intervals  # noqa: E402
import loader  # noqa: E402

FILE = "settings.json"


def written(text):
    with open(FILE, "w") as file:
        file.write(text)
    return config.read("pico-1", FILE)


def settings(**given):
    return written(json.dumps(given))


def is_said(problems, *words):
    """One problem has all these words."""
    assert any(all(word in each for word in words) for each in problems), (words, problems)


def test_no_file_is_no_problem():
    found = config.read("pico-1", "nowhere.json")
    assert found.problems == [] and found["id"] == "pico-1" and found["interval_seconds"] == 10
    assert [each.name for each in found.sensors] == [""] and found["mqtt"] is None and found["led"] == "LED"


def test_whatever_the_file_is_the_board_runs():
    for text in ("", "{", "[]", "3", "null", '{"id": "x"', "\0" * 100, " " * 9000, '{"a":' * 100, "[" * 2000):
        found = written(text)
        assert len(found.problems) == 1 and FILE in found.problems[0], (text[:20], found.problems)
        assert found["id"] == "pico-1" and len(found.sensors) == 1
    with open(FILE, "wb") as file:
        file.write(b'{"id": "\xff\xfe"}')
    assert config.read("pico-1", FILE).problems
    os.remove(FILE)
    os.mkdir(FILE)
    assert FILE in config.read("pico-1", FILE).problems[0]
    os.rmdir(FILE)


def test_each_wrong_value_is_named_and_replaced():
    found = settings(id="Oven!", interval_seconds=0, watchdog="yes", led=31, kept_readings=2.5, confirm_seconds=True, intervall=5)
    for words in (("id", "Oven!"), ("interval_seconds", "0.1"), ("watchdog", "yes"), ("led", "31")):
        is_said(found.problems, *words)
    for words in (("kept_readings", "2.5"), ("confirm_seconds", "true"), ("intervall is not known",)):
        is_said(found.problems, *words)
    assert len(found.problems) == 7
    defaults = ("pico-1", 10, True, "LED", 2000, 60)
    assert (
        tuple(found[key] for key in ("id", "interval_seconds", "watchdog", "led", "kept_readings", "confirm_seconds")) == defaults
    )


def test_a_wrong_sensor_costs_only_itself():
    found = settings(
        sensors=[
            {"kind": "dht22", "pin": 3},
            {"kind": "adc"},
            {"kind": "adc", "pin": 12},
            {"kind": "digital", "pin": 14, "name": "Door"},
            {"kind": "digital", "pin": 15, "name": "door", "pull": "sideways", "color": "red"},
            {"kind": "../../boot"},
            5,
            {"kind": "chip", "interval_seconds": -1},
        ]
    )
    assert [each.name for each in found.sensors] == ["digital", "door", ""]
    assert found.sensors[1].options == {"pin": 15, "pull": None, "inverted": False, "debounce_ms": 30}
    for words in (
        ("sensors[0]", "dht22", "adc, bme280, chip, digital"),
        ("sensors[1]", "pin is missing"),
        ("sensors[2]", "26 to 29"),
    ):
        is_said(found.problems, *words)
    for words in (
        ("sensors[3]", "Door"),
        ("sensors[4]", "up, down", "sideways"),
        ("color is not known",),
        ("sensors[5]", "boot"),
    ):
        is_said(found.problems, *words)
    is_said(found.problems, "sensors[6]", "table")
    is_said(found.problems, "sensors[7]", "interval_seconds")


def test_two_of_a_name_and_two_on_a_pin():
    found = settings(
        led=25,
        sensors=[
            {"kind": "digital", "pin": 14, "name": "door"},
            {"kind": "digital", "pin": 15, "name": "door"},
            {"kind": "digital", "pin": 14, "name": "gate"},
            {"kind": "bme280", "sda": 4, "scl": 5},
            {"kind": "bme280", "sda": 4, "scl": 5, "address": 119, "name": "outside"},
            {"kind": "bme280", "sda": 6, "scl": 4, "name": "wrong"},
        ],
        outputs={"door": 3, "lamp": 14, "led": 2, "blue": 25, "fan": {"pin": 16, "inverted": 1}, "bad": "x"},
    )
    assert [each.name for each in found.sensors] == ["door", "bme280", "outside"]
    assert found.outputs == {"fan": {"pin": 16, "inverted": True}}
    for words in (("sensors[1]", "door"), ("sensors[2]", "pin 14 is that of door"), ("sensors[5]", "pin 4 is that of outside")):
        is_said(found.problems, *words)
    for words in (
        ("outputs.door",),
        ("outputs.lamp", "pin 14"),
        ("outputs.led",),
        ("outputs.blue", "that of led"),
        ("outputs.bad",),
    ):
        is_said(found.problems, *words)


def test_mqtt_and_wifi():
    found = settings(wifi={"ssid": "n", "password": "p"}, mqtt={"host": "h", "tls": False, "port": "x"})
    assert found["mqtt"] == {"host": "h", "tls": False, "port": 1883, "keepalive_seconds": 30}
    assert found["wifi"] == {"ssid": "n", "password": "p"}
    is_said(found.problems, "mqtt.port")
    found = settings(mqtt={"port": 1}, wifi=[])
    assert found["mqtt"] is None and found["wifi"] is None
    is_said(found.problems, "mqtt.host is missing")
    is_said(found.problems, "wifi", "table")
    assert settings(mqtt={"host": "h"})["mqtt"]["port"] == 8883


def test_a_password_is_in_no_problem():
    found = settings(
        wifi={"ssid": "n", "password": "hunter2" * 20}, mqtt={"host": "h", "password": ["hunter2"]}, password="hunter2"
    )
    assert len(found.problems) == 3 and "hunter2" not in json.dumps(found.problems)


def test_there_are_not_more_problems_than_a_log_should_hold():
    found = settings(**{f"key{each}": 1 for each in range(100)})
    assert len(found.problems) <= 12


def test_changes_are_atomic_and_keep_the_rest():
    given = {"id": "oven", "mqtt": {"host": "h", "password": "p"}}
    new = config.changed(given, {"mqtt.port": 1884, "id": None, "led": False})
    assert new == {"mqtt": {"host": "h", "password": "p", "port": 1884}, "led": False}
    assert given == {"id": "oven", "mqtt": {"host": "h", "password": "p"}}
    config.save(new, FILE)
    assert config.load(FILE) == new and FILE + ".new" not in os.listdir()
    try:
        config.save({"id": "x" * 9000}, FILE)
    except ValueError:
        assert config.load(FILE) == new
    else:
        raise AssertionError("no error")


def test_what_is_shown_can_be_given_back():
    given = {"wifi": {"ssid": "n", "password": "p"}, "x": [{"psk": 1}]}
    shown = config.without_secrets(given)
    assert shown == {"wifi": {"ssid": "n", "password": "***"}, "x": [{"psk": "***"}]}
    assert config.changed(given, {"wifi": {"ssid": "other", "password": "***"}})["wifi"] == {"ssid": "other", "password": "p"}


def test_which_interval_counts():
    found = settings(
        interval_seconds=20, sensors=[{"kind": "chip"}, {"kind": "adc", "pin": 26, "name": "light", "interval_seconds": 5}]
    )
    each = intervals.Intervals(found)
    assert (each.of(), each.of(""), each.of("light")) == (20, 20, 5)
    assert each.configure({"interval_seconds": 7, "sensors": {"light": {"interval_seconds": 2}}}) == []
    assert (each.of(), each.of(""), each.of("light")) == (7, 7, 2)
    each.ordered = 1
    assert (each.of(), each.of(""), each.of("light")) == (1, 1, 2)
    assert each.configure({"sensors": {"chip": {"interval_seconds": 3}}}) == [] and each.of("") == 3
    each.ordered = None
    assert each.configure({}) == [] and (each.of(), each.of("light")) == (20, 5)


def test_a_bad_configuration_leaves_what_was():
    each = intervals.Intervals(settings(sensors=[{"kind": "adc", "pin": 26, "name": "light"}]))
    each.configure({"interval_seconds": 7, "sensors": {"light": {"interval_seconds": 2}}})
    bad = {"interval_seconds": "soon", "speed": 3, "sensors": {"light": {"interval_seconds": -1, "gain": 1}, "dark": {}}}
    problems = each.configure(bad)
    for words in (
        ("interval_seconds", "soon"),
        ("speed",),
        ("sensors.light.interval_seconds", "-1"),
        ("gain",),
        ("dark", "no such"),
    ):
        is_said(problems, *words)
    assert (each.of(), each.of("light")) == (7, 2)
    assert each.configure(bad) == []  # the same again is not said again
    for nonsense in (None, [], 5, {"sensors": 3}, {"sensors": {"light": 3}}, {"interval_seconds": None}):
        each.configure(nonsense)
        assert each.of() == 10


def test_a_new_version_has_a_minute_more_than_it_needs_to_prove_itself():
    most = loader.TRIAL_SECONDS - 60
    assert config.Settings({"confirm_seconds": most})["confirm_seconds"] == most
    assert config.Settings({"confirm_seconds": most + 1}).problems
