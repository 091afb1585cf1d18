"""What administrators order about claim tokens: make, list, revoke. Registered with the hub's admin service."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import msgspec

from edgeagent import tokens as shapes
from edgeagent import wire
from edgeagent.enrolment import ClaimToken
from edgeagent.errors import Refused, UsageProblem
from edgeagent.hub import events, register, tokens
from edgeagent.hub.claiming import authorities_of
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.tokenstore import TokenStore
from edgeagent.link import Client
from edgeagent.tokens import TokenIds, TokenList, TokenMade, TokenRow, TokenWanted

__all__ = ["Handler", "token_handlers"]

#: The user, the body -> the answer. As edgeagent.hub.administration has it.
Handler = Callable[[str, bytes], Awaitable[msgspec.Struct | None]]

#: A list must fit into one message (1 MB).
_MAX_LIST_BYTES = 500_000


def token_handlers(
    hub: Client,
    keyring: Keyring,
    *,
    hub_name: str,
    tls: bool,
    authorities: Callable[[], str],
    leaf_port: int = 7422,
    clock: Callable[[], float] = time.time,
) -> dict[str, Handler]:
    """The handlers by what is ordered. hub: a connection to the account HUB. tls: devices must use TLS. clock: Unix seconds.

    authorities: PEM text of the hub's own certificate authorities, empty if it has none. leaf_port: where it takes devices.
    """
    office = _Office(hub, keyring, hub_name, tls, authorities, leaf_port, clock)
    return {shapes.CREATE: office.create, shapes.LIST: office.ls, shapes.REVOKE: office.revoke}


class _Office:
    def __init__(
        self,
        hub: Client,
        keyring: Keyring,
        hub_name: str,
        tls: bool,
        authorities: Callable[[], str],
        leaf_port: int,
        clock: Callable[[], float],
    ) -> None:
        self._leaf_port = leaf_port
        self._hub, self._keyring, self._hub_name = hub, keyring, hub_name
        self._tls, self._authorities, self._clock = tls, authorities, clock
        self._store = TokenStore(hub)

    async def create(self, user: str, body: bytes) -> TokenMade:
        wanted = wire.decode(body, TokenWanted)
        tokens.check_wanted(wanted)
        await self._check_devices(wanted)
        now = self._clock()
        token = tokens.made(tokens.new_id(), wanted, user, now)
        jwt = self._keyring.claim_jwt(token.id, token.expires_at + tokens.GRACE_SECONDS - now)
        await self._store.create(token, wanted.boards)
        text = ClaimToken(jwt, self._hub_name, self._tls, tuple(authorities_of(self._authorities()))).format()
        await self._tell(user, "token.created", f"{user} made the token {token.id} for {_whom(token)}", token.id)
        await self._store.prune(now)
        return TokenMade(id=token.id, token=text, expires_at=token.expires_at, uses=token.uses, leaf_port=self._leaf_port)

    async def _check_devices(self, wanted: TokenWanted) -> None:
        """What would be refused at the device is said to the administrator."""
        if wanted.device and not wanted.replaces and await register.find(self._hub, wanted.device):
            raise UsageProblem(
                f"make a token for {wanted.device}",
                "it is enrolled already",
                f"`--replaces {wanted.device}` lets a new board take its place",
            )
        if wanted.replaces and not await register.find(self._hub, wanted.replaces):
            raise UsageProblem(
                f"make a token that replaces {wanted.replaces}", "there is no such device", "`edgeagent device ls` shows all"
            )

    async def ls(self, user: str, body: bytes) -> TokenList:
        now = self._clock()
        rows = [tokens.row(token, now) for token in await self._store.all()]
        rows.sort(key=lambda row: row.created_at, reverse=True)
        return _fitting(rows)

    async def revoke(self, user: str, body: bytes) -> TokenIds:
        ids = list(dict.fromkeys(wire.decode(body, TokenIds).ids))
        what = "revoke a token"
        if not ids:
            raise UsageProblem(what, "none is named")
        for token_id in ids:  # all or none: a mistyped id is said before anything is done
            if not tokens.is_token_id(token_id) or await self._store.find(token_id) is None:
                raise Refused(what, f"there is no token {token_id!r}", "`edgeagent token ls` shows all")
        for token_id in ids:
            await self._store.change(token_id, lambda token: msgspec.structs.replace(token, revoked=True))
            await self._tell(user, "token.revoked", f"{user} revoked the token {token_id}", token_id)
        return TokenIds(ids=ids)

    async def _tell(self, user: str, kind: str, text: str, token_id: str) -> None:
        await events.tell(self._hub, "info", kind, text, user=user, token=token_id)


def _whom(token: shapes.Token) -> str:
    if token.replaces:
        return f"a new board in place of {token.replaces}"
    if token.boards:
        return f"{token.boards} listed boards"
    return token.device or f"{token.uses} device{'s' * (token.uses != 1)}"


def _fitting(rows: list[TokenRow]) -> TokenList:
    """As many of the first rows as fit into an answer."""
    size = 0
    for number, row in enumerate(rows):
        size += len(msgspec.json.encode(row))
        if size > _MAX_LIST_BYTES:
            return TokenList(tokens=rows[:number], omitted=len(rows) - number)
    return TokenList(tokens=rows)
