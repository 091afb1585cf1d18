"""Which of several servers of one hub a client begins with, and where it goes when that one is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import urlparse

from nats.aio.client import Client, Srv

from edgeagent.errors import EdgeError, Refused, Unreachable, UsageProblem

__all__ = ["CONNECT_TIMEOUT_SECONDS", "FIRST_TIMEOUT_SECONDS", "extend", "first_of"]

#: How long one dial may take, in seconds; and at first where there are other servers to try.
CONNECT_TIMEOUT_SECONDS, FIRST_TIMEOUT_SECONDS = 5, 2

#: The url and how long it may take, in seconds -> a client that was let in; raises EdgeError.
Dial = Callable[[str, int], Awaitable[Client]]


async def first_of(urls: Sequence[str], what: str, dial: Dial) -> tuple[Client, str]:
    """The first of them that takes us, and its url. One that keeps silent is asked again, for longer, once the others were.

    what: as for :class:`EdgeError`. Raises what ``dial`` does for one alone; of several the refusal of one, else why none can be used.
    """
    if len(urls) == 1:
        return await dial(urls[0], CONNECT_TIMEOUT_SECONDS), urls[0]
    failures: dict[str, EdgeError] = {}
    for seconds in (FIRST_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS):
        for url in urls:
            try:
                return await dial(url, seconds), url
            except UsageProblem:
                raise
            except EdgeError as error:
                failures[url] = error
    raise _worst(failures, what)


def _worst(failures: Mapping[str, EdgeError], what: str) -> EdgeError:
    for failed in failures.values():
        if isinstance(failed, Refused):
            return failed
    whys = [failed.why if url in failed.why else f"{url}: {failed.why}" for url, failed in failures.items()]
    remedy = next(iter(failures.values())).remedy
    return Unreachable(what, f"none of {len(whys)} servers can be used: {'; '.join(whys)}", remedy)


def extend(client: Client, urls: Sequence[str], reached: str, names: Mapping[str, str], *, in_order: bool) -> None:
    """Let ``client``, which is connected to the server ``reached``, go to the other ones of ``urls`` when that is lost.

    names: url -> whom its certificate must name instead of the url's host. in_order: as given; else in any.
    """
    client._server_pool += [Srv(urlparse(url)) for url in urls if url != reached]
    client.options.pop("tls_hostname", None)  # nats-py has it for all of them alike
    for server in client._server_pool:
        server.tls_name = names.get(server.uri.geturl()) or None
    client.options.update(dont_randomize=in_order, connect_timeout=FIRST_TIMEOUT_SECONDS)
