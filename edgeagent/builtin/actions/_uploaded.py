"""What a person has uploaded for a device: how a signed command names it, and how it is fetched, piece by piece."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Annotated

from msgspec import Meta

from edgeagent.actions import Arguments, Context
from edgeagent.builtin.actions._partial import Partial
from edgeagent.errors import Failed
from edgeagent.patterns.pieces import moved
from edgeagent.subjects import FILES, file_piece
from edgeagent.transfer import SHA256_PATTERN, UPLOAD_PATTERN, length_of, pieces_of

__all__ = ["FOLDER", "Uploaded", "fetch"]

#: A server of a cluster may not have yet what another has acknowledged: how long to wait before looking again, in seconds.
_LOOK_AGAIN_SECONDS = (0.1, 0.4)
#: Where in the state folder it is gathered. Actions that fetch wait for each other, so there is one at a time.
FOLDER = "file"


class Uploaded(Arguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the arguments of an action that fetches something."""

    upload: Annotated[
        str, Meta(description="The random id of the upload.", pattern=UPLOAD_PATTERN, extra={"form": "32 of 0-9 and a-f"})
    ]
    pieces: Annotated[int, Meta(description="How many pieces it has.", ge=0)]
    bytes: Annotated[int, Meta(description="How many bytes it has.", ge=0, le=1 << 40)]
    sha256: Annotated[
        str, Meta(description="Of its content, in hex.", pattern=SHA256_PATTERN, extra={"form": "64 of 0-9 and a-f"})
    ]

    def __post_init__(self) -> None:
        if self.pieces != pieces_of(self.bytes):
            raise ValueError(f"{self.bytes} bytes are {pieces_of(self.bytes)} pieces, and not {self.pieces}")


async def fetch(context: Context, args: Uploaded, partial: Partial, kept: int, words: str = "") -> None:
    """Add to ``partial`` the pieces after the first ``kept``. words: what stands before each percentage that is written.

    Raises Failed when the hub does not have them, or they are none.
    """

    async def piece(number: int, seconds: float) -> bytes:
        return await _piece(context, args, number, seconds)

    told = kept * 10 // max(1, args.pieces)
    async with aclosing(moved(range(kept + 1, args.pieces + 1), piece)) as pieces:
        async for data in pieces:
            await partial.add(data)
            kept += 1
            if kept * 10 // args.pieces > told:
                told = kept * 10 // args.pieces
                context.write(f"{words}{told * 10} %\n".encode())


async def _piece(context: Context, args: Uploaded, number: int, seconds: float) -> bytes:
    """Raises Unreachable to be asked again, Failed when the hub does not have it, or it is none."""
    what, subject = f"fetch piece {number} of {args.pieces}", file_piece(args.upload, number)
    data = await context.read(FILES, subject, seconds)
    for pause in _LOOK_AGAIN_SECONDS:
        if data is not None:
            break
        await asyncio.sleep(pause)
        data = await context.read(FILES, subject, seconds)
    if data is None:
        raise Failed(what, "the hub does not have it (any more); it keeps files for 8 days", "push it again")
    if len(data) != length_of(number, args.bytes):
        raise Failed(what, f"it has {len(data)} bytes, and {length_of(number, args.bytes)} were signed", "push it again")
    return data
