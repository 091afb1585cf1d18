"""One question and its answer by UDP, without blocking."""

import asyncio
import socket

from ticks import ticks_diff, ticks_ms

_LOOK_SECONDS = 0.02
_MAX_BYTES = 512
_MULTICAST = "224."


async def ask(to, question, is_answer, tries):
    """What (address, port) answers, None if nothing; of a multicast address it may be anybody. is_answer(data): whether it is one. tries: how long to wait after each time it is asked, seconds."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        where = socket.getaddrinfo(to[0], to[1])[0][-1]  # of an address: nobody is asked
        for seconds in tries:
            sock.sendto(question, where)
            data = await _answer(sock, is_answer, None if to[0].startswith(_MULTICAST) else where, int(seconds * 1000))
            if data is not None:
                return data
        return None
    finally:
        sock.close()


async def _answer(sock, is_answer, where, milliseconds):
    since = ticks_ms()
    while ticks_diff(ticks_ms(), since) < milliseconds:
        try:
            data, source = sock.recvfrom(_MAX_BYTES)
            if where in (None, source) and is_answer(data):
                return data
        except OSError:  # nothing is there yet, or nobody listens there
            pass
        await asyncio.sleep(_LOOK_SECONDS)
    return None
