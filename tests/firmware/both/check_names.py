import names
from udpserver import UdpServer

ALIAS = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01x\xc0\x0c"
ADDRESS = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\xa8\x01\x07"


def answer(question, *records, number=None, flags=b"\x81\x80"):
    head = (number or question[:2]) + flags + b"\x00\x01" + len(records).to_bytes(2, "big") + b"\0\0\0\0"
    return head + question[12:] + b"".join(records)


async def unknown(name, server, port):
    try:
        await names.resolve(name, server, port)
    except names.Unknown as error:
        return str(error)
    return ""


async def test_addresses_need_nobody():
    assert await names.resolve("192.168.1.7", "203.0.113.1") == "192.168.1.7"
    assert await names.resolve("localhost", "203.0.113.1") == "127.0.0.1"
    assert not names.is_address("1.2.3.256") and not names.is_address("1.2.3") and not names.is_address("a.b.c.d")


async def test_the_server_is_asked_and_answers_with_an_alias_first():
    async with UdpServer(lambda question: [answer(question, ALIAS, ADDRESS)]) as server:
        assert await names.resolve("pi-01.example", "127.0.0.1", server.port) == "192.168.1.7"
        assert server.asked[0][2:] == b"\x01\0\0\x01\0\0\0\0\0\0\x05pi-01\x07example\0\0\x01\0\x01"


async def test_an_answer_that_was_lost_is_asked_for_again():
    async with UdpServer(lambda question: [answer(question, ADDRESS)] if len(server.asked) > 1 else []) as server:
        names._TRIES = (0.1, 1, 3)
        assert await names.resolve("pi-01.example", "127.0.0.1", server.port) == "192.168.1.7"


async def test_forged_and_broken_answers_are_not_taken():
    def forged(question):
        other = bytes([question[0] ^ 1, question[1]])
        return [
            answer(question, ADDRESS, number=other),
            answer(question, ADDRESS, number=b"\0\0"),
            question,
            b"",
            question[:2],
            answer(question, ADDRESS.replace(b"\xa8", b"\xa9")),
        ]

    async with UdpServer(forged) as server:
        assert await names.resolve("pi-01.example", "127.0.0.1", server.port) == "192.169.1.7"


async def test_a_name_that_nobody_knows_is_said():
    async with UdpServer(lambda question: [answer(question, flags=b"\x81\x83")]) as server:
        assert "knows no such name" in await unknown("pi-02.example", "127.0.0.1", server.port)
    for name in ("a..b", "x" * 64 + ".example", ""):
        assert "it is no name" in await unknown(name, "127.0.0.1", 9)


def test_what_makes_no_sense_ends():
    question = names.question(b"ab", "pi-01.example")
    whole = answer(question, ALIAS, ADDRESS)
    assert names.address_in(whole, "") == "192.168.1.7"
    for length in range(len(whole)):
        assert names.address_in(whole[:length], "") is None
    for at in range(12, len(whole)):
        names.address_in(whole[:at] + b"\xff" + whole[at + 1 :], "")
    assert names.address_in(whole[:4] + b"\xff\xff\xff\xff" + whole[8:], "") is None
