import fakemachine

fakemachine.install()
import board  # noqa: E402


def refused(do, *args):
    try:
        do(*args)
    except ValueError as error:
        return str(error)
    raise AssertionError(args)


def on(machine, do):
    """What ``do`` gives on another board."""
    mine, board._machine = board._machine, lambda: machine
    try:
        return do()
    finally:
        board._machine = mine


def test_who_it_is():
    assert board.unique_id() == "e6614c311b7e6f2a" and "watchdog" in board.reset_cause()
    name = on("Raspberry Pi Pico W with RP2040", board.hardware)
    assert name.startswith("Raspberry Pi Pico W with RP2040, ") and len(name) <= 64
    assert on("\xe9" * 100, board.hardware).startswith("?" * 40 + ", ")


def test_pins_of_the_radio_are_not_ours():
    for pin in (23, 24, 25, 29):
        assert "radio" in on("Raspberry Pi Pico W with RP2040", lambda pin=pin: refused(board.Output, pin))
    on("Raspberry Pi Pico with RP2040", lambda: board.Output(25))


def test_pins_of_one_bus():
    for sda, scl in ((4, 5), (0, 1), (6, 7), (26, 27), (4, 1)):
        assert board.i2c(sda, scl)
    for sda, scl in ((4, 7), (5, 4), (5, 6), (4, 4), (4, 6), (2, 1)):
        assert "no SDA and SCL" in refused(board.i2c, sda, scl)


def test_led_of_a_board_that_has_no_such_name():
    fakemachine.install()
    real = fakemachine.Pin

    class Old(real):
        def __init__(self, number, mode=-1, pull=-1, value=None):
            if number == "LED":
                raise ValueError("unknown named pin")
            real.__init__(self, number, mode, pull, value)

    fakemachine.Pin = Old
    try:
        board.led("LED").switch(True)
    finally:
        fakemachine.Pin = real
    assert fakemachine.outputs == {25: [0, 1]}
    none = board.led(None)
    none.switch(1)
    none.show(0)
    assert none.is_on


def test_the_watchdog_is_armed_for_long_and_can_be_disarmed():
    assert board.arm().timeout == 8388
    on("Raspberry Pi Pico with RP2040", board.disarm)
    on("Raspberry Pi Pico 2 with RP2350", board.disarm)
    assert fakemachine.mem32 == {0x4005B000: 1 << 30, 0x400DB000: 1 << 30}
