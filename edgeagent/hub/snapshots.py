"""A stream as a file's worth of bytes, and back again: JetStream's own snapshots, taken while everything is written.

The consumers are in it: how far an export has come (:mod:`edgeagent.hub.sinksconsumer`). Without them all that a stream keeps would be
sent once more; with them only what was sent after the snapshot.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import nats.errors

from edgeagent.direct import in_our_words
from edgeagent.errors import Failed, Unreachable
from edgeagent.hub.bucket import PREFIX
from edgeagent.link import Client, request

__all__ = ["Begun", "State", "connect_sources", "names", "put_back", "taken"]

#: The server sends so much, in bytes, before it wants to hear that something was taken; and so much at once.
WINDOW_BYTES, CHUNK_BYTES = 8 << 20, 128 << 10
#: What is sent back at once: well within the server's ``max_payload`` of 1 MB.
_PIECE_BYTES = 512 << 10
#: How long the server may be silent in between, in seconds: it reads a large stream first, and copies it to others last.
_BEGIN_SECONDS, _SILENT_SECONDS, _END_SECONDS = 60.0, 60.0, 600.0
#: JetStream's error code while too few servers of a cluster are there.
_TOO_FEW = 10008
_PENDING_MESSAGES = 4096
#: nats-server's word (``err_code``) for too few servers, and how long to wait then, in seconds.
_NO_PEERS, _AGAIN_SECONDS = 10005, 0.2
#: How long a cluster may take until each of its servers knows who answers where, in seconds; it may elect anew meanwhile.
_HEARD_SECONDS = 15.0
#: Where a message was copied from: the stream, perhaps with a hash of its domain, and the sequence there.
_SOURCE = re.compile(rb"Nats-Stream-Source: ([^ :\r]+)[^ \r]* ([0-9]+)")


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream holds, in JetStream's words. first_ts, last_ts: RFC 3339."""

    messages: int
    bytes: int
    first_seq: int
    last_seq: int
    first_ts: str = ""
    last_ts: str = ""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """The server's first word: the stream's configuration, and what is in the snapshot."""

    config: dict[str, Any]
    state: dict[str, Any]


async def names(hub: Client, *, timeout: float = 5.0) -> list[str]:
    """The names of all streams, in their order. timeout: for each answer, in seconds. Raises EdgeError."""
    what, found, total = "list the hub's streams", list[str](), 1
    while len(found) < total:
        body = json.dumps({"offset": len(found)}).encode()
        answer = _answer((await request(hub, f"{PREFIX}.STREAM.NAMES", body, what=what, timeout=timeout)).data, what)
        total, page = int(answer["total"]), answer.get("streams") or []
        found += page
        if not page:
            break
    return sorted(found)


@contextlib.asynccontextmanager
async def taken(hub: Client, stream: str) -> AsyncIterator[tuple[Begun, AsyncIterator[bytes]]]:
    """Take a snapshot: what it is of, and its bytes as they come. What was yielded counts as written when the next is asked for.

    hub: a connection to the account HUB. Raises EdgeError, also in the midst of it.
    """
    what, inbox = f"take a snapshot of the stream {stream}", hub.new_inbox()
    with in_our_words(what):
        chunks = await hub.subscribe(inbox, pending_msgs_limit=_PENDING_MESSAGES, pending_bytes_limit=4 * WINDOW_BYTES)
    try:
        wanted = {"deliver_subject": inbox, "no_consumers": False, "chunk_size": CHUNK_BYTES, "window_size": WINDOW_BYTES}
        subject = f"{PREFIX}.STREAM.SNAPSHOT.{stream}"
        answer = await request(hub, subject, json.dumps(wanted).encode(), what=what, timeout=_BEGIN_SECONDS)
        yield msgspec.convert(_answer(answer.data, what), Begun), _chunks(hub, chunks, what)
    finally:
        with contextlib.suppress(nats.errors.Error):  # the connection may be gone
            await chunks.unsubscribe()


async def _chunks(hub: Client, chunks: Any, what: str) -> AsyncIterator[bytes]:
    while True:
        try:
            message = await chunks.next_msg(timeout=_SILENT_SECONDS)
        except (nats.errors.TimeoutError, asyncio.TimeoutError):
            raise Unreachable(what, f"the server said nothing for {_SILENT_SECONDS:g} s", "try again") from None
        except nats.errors.Error as error:
            raise Failed(what, str(error).removeprefix("nats: "), "try again") from None
        if not message.data:
            _check_end(message.headers or {}, what)
            return
        yield message.data
        if message.reply:  # the last one has none
            with in_our_words(what):
                await hub.publish(message.reply)


def _check_end(headers: dict[str, str], what: str) -> None:
    """The last message has no data: 204 says that it is whole, and so did the servers that had no word for it."""
    status = headers.get("Status", "204")
    if status != "204":
        slow = "whoever takes the backup is too slow: write it to a file first" if status == "408" else "try again"
        raise Failed(what, f"it broke off ({status} {headers.get('Description', '')})".replace(" )", ")"), slow)


async def put_back(
    hub: Client, begun: Begun, data: Iterable[bytes], *, replicas: int, progress: Callable[[int], None] | None = None
) -> State:
    """Make the stream again of its snapshot, and return what it holds; it must not be there. It copies no others:
    :func:`connect_sources`.

    hub: a connection to the account HUB. progress: told how many bytes went. Raises EdgeError.
    """
    name = begun.config.get("name", "")
    what = f"restore the stream {name}"
    config = {key: value for key, value in begun.config.items() if key != "sources"}
    wanted = {"config": {**config, "num_replicas": replicas}, "state": begun.state}
    target = await _restore_begun(hub, name, json.dumps(wanted).encode(), what)
    for piece in _pieces(data):
        answer = await _asked(hub, target, piece, what, _SILENT_SECONDS)
        if answer:
            _answer(answer, what)
        if progress:
            progress(len(piece))
    return msgspec.convert(_answer(await _asked(hub, target, b"", what, _END_SECONDS), what)["state"], State)


async def _asked(hub: Client, subject: str, data: bytes, what: str, timeout: float) -> bytes:
    """The answer to a request. Of the servers of a cluster one may have heard a moment later than another who answers there."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _HEARD_SECONDS
    while True:
        try:
            return bytes((await hub.request(subject, data, timeout=timeout)).data)
        except nats.errors.NoRespondersError:  # so nobody has got it
            if loop.time() > deadline:
                raise Unreachable(what, "nobody answers there") from None
        except (nats.errors.TimeoutError, asyncio.TimeoutError):
            raise Unreachable(what, f"no answer within {timeout:g} s") from None
        except (nats.errors.Error, OSError) as error:
            raise Failed(what, str(error).removeprefix("nats: ")) from None
        await asyncio.sleep(_AGAIN_SECONDS)


async def _restore_begun(hub: Client, name: str, wanted: bytes, what: str) -> str:
    """Where the server wants the snapshot. A cluster that has just elected who leads takes a moment to know all of its servers."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _BEGIN_SECONDS
    while True:
        answer = await _asked(hub, f"{PREFIX}.STREAM.RESTORE.{name}", wanted, what, _BEGIN_SECONDS)
        if json.loads(answer).get("error", {}).get("err_code") != _NO_PEERS or loop.time() > deadline:
            return str(_answer(answer, what)["deliver_subject"])
        await asyncio.sleep(_AGAIN_SECONDS)


async def connect_sources(hub: Client, begun: Begun, subjects: Mapping[str, Sequence[str]], *, replicas: int) -> None:
    """Have a stream that was put back copy others again, from behind the last message that it has of each.

    A stream that was restored is another one to who copies it, known by the time at which it was made, and would be copied once more from
    its beginning (nats-server 2.15.1); ``opt_start_seq`` is where its beginning is. subjects: of each of the others, by name.
    """
    name = begun.config.get("name", "")
    what = f"restore what the stream {name} copies"
    sources = [
        {**one, "opt_start_seq": await _copied(hub, name, one["name"], subjects.get(one["name"], ()), what) + 1}
        for one in begun.config["sources"]
    ]
    config = {**begun.config, "num_replicas": replicas, "sources": sources}
    _answer(await _asked(hub, f"{PREFIX}.STREAM.UPDATE.{name}", json.dumps(config).encode(), what, _SILENT_SECONDS), what)


async def _copied(hub: Client, stream: str, source: str, subjects: Sequence[str], what: str) -> int:
    """The sequence that the newest message which was copied from ``source`` had there; 0: there is none."""
    newest, found = 0, 0
    for subject in subjects:
        body = json.dumps({"last_by_subj": subject}).encode()
        answer = json.loads(await _asked(hub, f"{PREFIX}.STREAM.MSG.GET.{stream}", body, what, _SILENT_SECONDS))
        if "error" in answer:  # it has none
            continue
        words = _SOURCE.search(base64.b64decode(answer["message"].get("hdrs", "")))
        if words and words[1].decode() == source and answer["message"]["seq"] > newest:
            newest, found = answer["message"]["seq"], int(words[2])
    return found


def _pieces(data: Iterable[bytes]) -> Iterable[bytes]:
    for block in data:
        for start in range(0, len(block), _PIECE_BYTES):
            yield block[start : start + _PIECE_BYTES]


def _answer(data: bytes, what: str) -> dict[str, Any]:
    """Raises Failed for an error."""
    try:
        answer: dict[str, Any] = json.loads(data)
    except ValueError:
        raise Failed(what, "the server's answer makes no sense") from None
    if error := answer.get("error"):
        away = error.get("err_code") == _TOO_FEW
        remedy = "`edgeagent hub status` shows whether enough of its servers are up" if away else ""
        raise Failed(what, str(error.get("description") or error), remedy)
    return answer
