import asyncio
from collections.abc import AsyncIterator

import pytest

from edgeagent.demo.cable import Cable, CableState
from tests.support.servers import until


class Far:
    """The far end: answers each line with the same line, and its own end of stream with ``bye``."""

    def __init__(self) -> None:
        self.got = b""
        self.ends = 0
        self.address = ("", 0)

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = self.server.sockets[0].getsockname()[:2]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.got += line
                writer.write(line)
                await writer.drain()
            writer.write(b"bye\n")
            await writer.drain()
        except OSError:
            pass
        finally:
            self.ends += 1
            writer.close()


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    far = Far()
    await far.start()
    yield far
    far.server.close()


@pytest.fixture
async def cable(far: Far) -> AsyncIterator[Cable]:
    cable = Cable(far.address)
    await cable.start()
    yield cable
    await cable.close()
    assert cable.connections == 0


async def plug(cable: Cable) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", cable.port)


async def echo(ends: tuple[asyncio.StreamReader, asyncio.StreamWriter], text: bytes) -> bytes:
    ends[1].write(text)
    return await asyncio.wait_for(ends[0].readline(), 10)


async def is_dead(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(100), 10) == b""
    except ConnectionError:
        return True


async def test_carries_both_ways_and_counts(cable: Cable) -> None:
    ends = await plug(cable)
    assert await echo(ends, b"hello\n") == b"hello\n"
    assert (cable.bytes_out, cable.bytes_back) == (6, 6)
    ends[1].close()


async def test_half_close_lets_the_answer_through(cable: Cable) -> None:
    reader, writer = await plug(cable)
    writer.write(b"last words\n")
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 10) == b"last words\nbye\n"
    await until(lambda: cable.connections == 0, "a connection closed on both sides is forgotten")
    writer.close()


async def test_much_data_arrives_whole(cable: Cable, far: Far) -> None:
    reader, writer = await plug(cable)
    sent = b"".join(b"%063d\n" % number for number in range(40_000))
    writer.write(sent)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 30) == sent + b"bye\n"
    assert far.got == sent
    writer.close()


async def test_a_slow_receiver_makes_the_sender_wait() -> None:
    blocked = asyncio.Event()

    async def read_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await blocked.wait()
        writer.close()

    server = await asyncio.start_server(read_nothing, "127.0.0.1", 0)
    cable = Cable(server.sockets[0].getsockname()[:2])
    await cable.start()
    _, writer = await plug(cable)
    size = 64 << 20  # more than all buffers of the kernel between here and there
    writer.write(bytes(size))
    await until(lambda: cable.bytes_out > 0, "it begins to flow")
    before = -1
    while cable.bytes_out != before:
        before = cable.bytes_out
        await asyncio.wait({asyncio.ensure_future(writer.drain())}, timeout=0.3)
    assert 0 < cable.bytes_out < size
    writer.transport.abort()
    blocked.set()
    await cable.close()
    server.close()


async def test_cut_closes_and_refuses_and_restore_mends(cable: Cable) -> None:
    ends = await plug(cable)
    await echo(ends, b"x\n")
    await cable.cut()
    assert await is_dead(ends[0])
    with pytest.raises(ConnectionRefusedError):
        await plug(cable)
    await cable.restore()
    assert await echo(await plug(cable), b"again\n") == b"again\n"


async def test_silent_tells_nobody_and_loses_everything(cable: Cable, far: Far) -> None:
    old = await plug(cable)
    await echo(old, b"before\n")
    await cable.cut(silent=True)
    new = await plug(cable)
    old[1].write(b"lost\n")
    new[1].write(b"lost too\n")
    await until(lambda: cable.bytes_lost == len(b"lost\nlost too\n"), "both were swallowed")
    assert far.got == b"before\n" and far.ends == 0 and cable.state is CableState.SILENT
    await cable.restore()
    assert await is_dead(old[0]) and await is_dead(new[0])
    assert await echo(await plug(cable), b"after\n") == b"after\n"
    assert far.got == b"before\nafter\n"


async def test_a_connection_that_lost_nothing_goes_on(cable: Cable) -> None:
    ends = await plug(cable)
    await echo(ends, b"before\n")
    await cable.cut(silent=True)
    await cable.restore()
    assert await echo(ends, b"after\n") == b"after\n"


@pytest.mark.parametrize("abort", [False, True])
async def test_an_end_does_not_cross_a_silent_cable(cable: Cable, far: Far, abort: bool) -> None:
    reader, writer = await plug(cable)
    await echo((reader, writer), b"before\n")
    await cable.cut(silent=True)
    if abort:
        writer.transport.abort()
    else:
        writer.close()
    witness = await plug(cable)
    witness[1].write(b"x")
    await until(lambda: cable.bytes_lost == 1, "the cable has dealt with what came before")
    assert far.ends == 0
    await cable.restore()
    await until(lambda: far.ends == 1, "the far end learns of it when the cable is mended")


async def test_the_target_may_come_later_and_move(far: Far) -> None:
    nobody = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    address = nobody.sockets[0].getsockname()[:2]
    nobody.close()
    await nobody.wait_closed()
    cable = Cable(address)
    await cable.start()
    reader, _ = await plug(cable)
    assert await is_dead(reader)
    cable.target = far.address
    assert await echo(await plug(cable), b"there\n") == b"there\n"
    await cable.close()
    with pytest.raises(ConnectionRefusedError):
        await plug(cable)


async def test_a_long_way_takes_its_time_and_loses_nothing(cable: Cable) -> None:
    cable.delay_seconds = 0.05
    ends, clock = await plug(cable), asyncio.get_running_loop().time
    begun = clock()
    for line in (b"one\n", b"two\n"):
        assert await echo(ends, line) == line
    assert clock() - begun >= 4 * cable.delay_seconds
    ends[1].write(b"three\n")
    ends[1].write_eof()
    assert await asyncio.wait_for(ends[0].read(), 10) == b"three\nbye\n"
    ends[1].close()
