"""Settings that were changed from afar, and come back when they cut the board off."""

import json
import os

import fakemachine

fakemachine.install()
import actions  # noqa: E402
import commands  # noqa: E402
import config  # noqa: E402
from settingstrial import SettingsTrial  # noqa: E402
from ticks import ticks_add  # noqa: E402

FILE, START = "settings.json", ticks_add(0, -3000)
BEFORE = {"id": "oven", "wifi": {"ssid": "lab"}, "mqtt": {"host": "pi-01", "user": "oven", "password": "x"}}


def board(given):
    """One that runs with these settings."""
    for name in (FILE, FILE + ".old"):
        try:
            os.remove(name)
        except OSError:
            pass
    config.save(given, FILE)
    actions.register_settings(config.read("pico-1", FILE), FILE)


def change(**args):
    answers = []
    commands.do("settings", args, lambda *answer: answers.append(answer))
    assert answers[0][0], answers
    return answers[0][1]


def started():
    """The trial of a board that starts, and the restarts that it makes."""
    restarts = []
    return SettingsTrial(lambda: restarts.append(1), START, FILE), restarts


def said():
    return config.load(FILE)


def is_kept():
    return FILE + ".old" in os.listdir(".")


def after(seconds):
    return ticks_add(START, seconds * 1000)


def test_settings_that_cut_it_off_are_taken_back():
    board(BEFORE)
    assert "no agent is heard" in change(**{"wifi.ssid": "lba", "interval_seconds": 5})["back"]
    assert said()["wifi"] == {"ssid": "lba"}
    trial, restarts = started()
    trial.look(False, after(599))
    assert restarts == [] and said()["wifi"] == {"ssid": "lba"}
    trial.look(False, after(600))
    assert restarts == [1] and said() == BEFORE and not is_kept()
    trial.look(False, after(1300))
    trial, restarts = started()
    trial.look(False, after(700))
    assert restarts == [] and said() == BEFORE


def test_settings_with_which_the_agent_is_heard_stay():
    board(BEFORE)
    change(**{"mqtt.host": "pi-02"})
    trial, restarts = started()
    trial.look(False, after(500))
    trial.look(True, after(599))
    trial.look(False, after(700))
    assert restarts == [] and said()["mqtt"]["host"] == "pi-02" and not is_kept()


def test_what_is_changed_before_the_next_start_is_all_on_trial():
    board(BEFORE)
    change(**{"mqtt.host": "pi-02"})
    assert "back" in change(interval_seconds=7)
    change(**{"wifi.ssid": "lba"})
    trial, restarts = started()
    trial.look(False, after(600))
    assert restarts == [1] and said() == BEFORE


def test_what_cannot_cut_it_off_and_a_board_at_a_cable_need_no_trial():
    board(BEFORE)
    assert "back" not in change(interval_seconds=7) and not is_kept()
    board({"id": "oven"})
    change(wifi={"ssid": "lab"}, mqtt={"host": "pi-01"})
    assert not is_kept()


def test_a_file_that_somebody_put_there_meanwhile_counts():
    board(BEFORE)
    change(**{"wifi.ssid": "lba"})
    config.save({"id": "kiln"}, FILE)
    trial, restarts = started()
    trial.look(False, after(600))
    assert restarts == [] and said() == {"id": "kiln"} and not is_kept()


def test_a_damaged_file_is_none():
    for text in ("", "[]", "{", '{"crc": 1}', '{"before": {}}', '{"before": 5, "crc": %d}', "[" * 500):
        board(BEFORE)
        change(**{"wifi.ssid": "lba"})
        with open(FILE + ".old") as file:
            crc = json.load(file)["crc"]
        with open(FILE + ".old", "w") as file:
            file.write(text % crc if "%" in text else text)
        trial, restarts = started()
        trial.look(False, after(600))
        assert restarts == [] and said()["wifi"] == {"ssid": "lba"} and not is_kept(), text


def test_flash_that_cannot_be_written_leaves_the_new_ones():
    board(BEFORE)
    change(**{"wifi.ssid": "lba"})
    os.mkdir(FILE + ".new")
    try:
        trial, restarts = started()
        trial.look(False, after(600))
        trial.look(False, after(601))
        assert restarts == [] and said()["wifi"] == {"ssid": "lba"} and is_kept()
    finally:
        os.rmdir(FILE + ".new")
