"""Where claim tokens are kept: KV ``edge_tokens``. Every change is compare-and-set, so any number of services may count uses."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from edgeagent import subjects, wire
from edgeagent.direct import read_all
from edgeagent.errors import Failed, Refused
from edgeagent.hub.bucket import PREFIX, Bucket, purge
from edgeagent.hub.streams import TOKENS_BUCKET
from edgeagent.hub.tokens import GRACE_SECONDS
from edgeagent.link import Client
from edgeagent.tokens import Board, Token

__all__ = ["TokenStore"]


#: So long the same token may be asked for again, in seconds: its maker's tool gives up then.
AGAIN_SECONDS = 180


class _Boards(msgspec.Struct):
    boards: list[Board]
    v: int = wire.VERSION


def _is_same(kept: Token, wanted: Token) -> bool:
    """Whether both are one wish of one person's, asked for twice within a moment."""
    is_new = wanted.created_at - kept.created_at <= AGAIN_SECONDS
    return is_new and kept == msgspec.structs.replace(wanted, created_at=kept.created_at, expires_at=kept.expires_at)


class TokenStore:
    """hub: a connection to the account HUB."""

    def __init__(self, hub: Client) -> None:
        self._hub = hub
        self._tokens, self._lists = Bucket(hub, TOKENS_BUCKET, Token), Bucket(hub, TOKENS_BUCKET, _Boards)

    async def create(self, token: Token, boards: list[Board]) -> Token:
        """Keep a new token, its list first: without the token nobody asks for it. What is kept: the same is asked for twice when an answer
        was lost. Raises Failed when there is another of that id."""
        what = "keep the new token"
        is_new = not boards or await self._lists.put(f"boards.{token.id}", _Boards(boards), 0, what=what)
        if (is_new or await self.boards(token) == boards) and await self._tokens.put(f"token.{token.id}", token, 0, what=what):
            return token
        found = await self.find(token.id)
        if found is None or not _is_same(found[0], token) or await self.boards(token) != boards:
            raise Failed(what, "there is one of that id", "try again")
        return found[0]

    async def find(self, token_id: str) -> tuple[Token, int] | None:
        """The token and its sequence, for :meth:`replace`; None when there is none of that id."""
        return await self._tokens.find(f"token.{token_id}")

    async def boards(self, token: Token) -> list[Board]:
        """The token's list; empty when it takes whichever board comes."""
        if not token.boards:
            return []
        found = await self._lists.find(f"boards.{token.id}")
        if found is None:
            raise Failed(f"read the boards of the token {token.id}", "they are gone from the store")
        return found[0].boards

    async def replace(self, token: Token, sequence: int) -> bool:
        """Write the token over the one that was found with ``sequence``; False when somebody else was first."""
        return await self._tokens.put(f"token.{token.id}", token, sequence, what=f"keep the token {token.id}")

    async def change(self, token_id: str, edit: Callable[[Token], Token]) -> None:
        """Read, edit and write until nobody came between. Raises Refused when there is no such token, Failed when others always do."""
        what = f"change the token {token_id}"

        def made(token: Token | None) -> Token | None:
            if token is None:
                raise Refused(what, "there is no such token", "`edgeagent token ls` shows all")
            changed = edit(token)
            return None if changed == token else changed

        await self._tokens.change(f"token.{token_id}", made, what=what)

    async def all(self) -> list[Token]:
        """Every token that is kept."""
        found = read_all(self._hub, f"KV_{TOKENS_BUCKET}", subjects.kv(TOKENS_BUCKET, "token.*"), prefix=PREFIX)
        return [wire.decode(stored.data, Token) async for stored in found]

    async def prune(self, now: float) -> list[str]:
        """Remove what is kept of tokens whose JWT has ended as well; their ids. now: Unix seconds."""
        gone = [token.id for token in await self.all() if now >= token.expires_at + GRACE_SECONDS]
        for token_id in gone:
            await self._remove(f"token.{token_id}")
            await self._remove(f"boards.{token_id}")
        return gone

    async def _remove(self, key: str) -> None:
        await purge(self._hub, f"KV_{TOKENS_BUCKET}", subjects.kv(TOKENS_BUCKET, key), what=f"remove {key}")
