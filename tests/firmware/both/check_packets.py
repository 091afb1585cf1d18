import packets
from packets import Malformed


def refused(function, *args):
    try:
        function(*args)
    except Malformed:
        return True
    return False


def test_connect_as_the_standard_has_it():
    data = packets.connect("oven", 30, "u", "p", ("a", "off"))
    assert data == b"\x10\x1e\x00\x04MQTT\x04\xe6\x00\x1e\x00\x04oven\x00\x01a\x00\x03off\x00\x01u\x00\x01p"
    assert packets.connect("a", 1)[9:10] == b"\x02", "a clean session, and nothing else"


def test_lengths_of_one_to_three_bytes():
    assert packets.packet(0x30, bytes(127))[:2] == b"\x30\x7f"
    assert packets.packet(0x30, bytes(128))[:3] == b"\x30\x80\x01"
    assert packets.packet(0x30, bytes(16384))[:4] == b"\x30\x80\x80\x01"


def test_a_message_comes_back_as_it_was_said():
    for topic, payload, pid, retain, dup in (
        ("a/b", b"x", 0, False, False),
        ("a", b"", 65535, True, True),
        ("\xfc", b"\0" * 9, 1, False, False),
    ):
        data = packets.publish(topic, payload, pid, retain, dup)
        assert packets.published(data[0], data[2:]) == (topic, payload, pid, retain)
        assert bool(data[0] & 8) == dup


def test_what_is_no_message_is_refused():
    for first, body in (
        (0x30, b""),
        (0x30, b"\x00"),
        (0x30, b"\x00\x00x"),
        (0x30, b"\x00\x05ab"),
        (0x32, b"\x00\x01a"),
        (0x32, b"\x00\x01a\x00"),
        (0x32, b"\x00\x01a\x00\x00"),
        (0x34, b"\x00\x01a\x00\x01"),
        (0x36, b"\x00\x01a\x00\x01"),
        (0x30, b"\x00\x02\xff\xfe"),
    ):
        assert refused(packets.published, first, body), (first, body)


def test_what_is_no_answer_is_refused():
    assert packets.connected(0x20, b"\0\0") == "" and "password" in packets.connected(0x20, b"\0\x05")
    assert "99" in packets.connected(0x20, b"\0\x63")
    for first, body in ((0x20, b""), (0x20, b"\0"), (0x30, b"\0\0"), (0x21, b"\0\0")):
        assert refused(packets.connected, first, body)
    for first, body in ((0x40, b"\0"), (0x41, b"\0\1"), (0x40, b"\0\1\0")):
        assert refused(packets.acknowledged, first, body)
    assert packets.subscribed(0x90, b"\0\7\0\x80", 7, ("a", "b")) == ["b"]
    for first, body in ((0x90, b"\0\7\0"), (0x90, b"\0\6\0\0"), (0x90, b"")):
        assert refused(packets.subscribed, first, body, 7, ("a", "b"))
