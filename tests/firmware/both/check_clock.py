import clock
from clock import Clock
from udpserver import UdpServer

NOW = 1795000000000
SECONDS_1900 = NOW // 1000 + 2208988800


def unknown():
    made = Clock(set_board=SET.append)
    made._unix_ms = None  # as on a board, whose clock begins in 2021
    return made


SET = []


def reply(question, seconds=SECONDS_1900, first=0x24, stratum=2, mark=None):
    return bytes([first, stratum]) + bytes(22) + (mark or question[40:48]) + bytes(8) + seconds.to_bytes(4, "big") + bytes(4)


def test_it_is_told_the_time_and_goes_on():
    ours = unknown()
    assert ours.unix_ms() is None and not ours.is_known
    assert ours.set(NOW) and SET[-1] == NOW // 1000
    assert NOW <= ours.unix_ms() < NOW + 60000
    count = len(SET)
    assert ours.set(ours.unix_ms() + 500) and len(SET) == count, "what is near enough is left"
    assert ours.set(NOW + 3600000) and len(SET) == count + 1


def test_it_goes_on_where_milliseconds_wrap():
    ours = unknown()
    ours.set(NOW)
    ours._at = clock.ticks_add(ours._at, -(5 * 86400000))
    before = ours.unix_ms()
    ours._at = clock.ticks_add(ours._at, -(5 * 86400000))
    assert 0 <= ours.unix_ms() - before - 5 * 86400000 < 60000 and before - NOW >= 5 * 86400000


def test_a_time_that_cannot_be_is_not_taken():
    ours = unknown()
    for each in (0, -1, 1609459200000, 99999999999999, "1795000000000", None, True, [], float("nan"), float("inf")):
        assert not ours.set(each), each
    assert not ours.is_known


async def test_a_time_server_is_asked():
    ours = unknown()
    async with UdpServer(lambda question: [reply(question)]) as server:
        assert await ours.ask("127.0.0.1", server.port)
        assert 0 <= ours.unix_ms() - NOW < 60000 and server.asked[0][0] == 0x23


async def test_whoever_did_not_hear_the_question_cannot_set_it():
    def forged(question):
        return [
            reply(question, mark=b"12345678"),
            reply(question, first=0x23),
            reply(question, stratum=0),
            reply(question)[:40],
            b"",
        ]

    ours = unknown()
    async with UdpServer(forged) as server:
        assert not await ours.ask("127.0.0.1", server.port, (0.1, 0.1)) and not ours.is_known
    async with UdpServer(lambda question: [reply(question, seconds=1)]) as server:
        assert not await ours.ask("127.0.0.1", server.port), "1900"


def test_what_the_board_says():
    assert clock.said().endswith(" UTC") and len(clock.said()) == 20
