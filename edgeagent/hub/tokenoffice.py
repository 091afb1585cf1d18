"""What administrators order about claim tokens: make, list, revoke. Registered with the hub's admin service.

The JWT of a token that lets nobody in any more is kept out by nats-server too: else its holders could take all the places that the
account PROVISION has for newcomers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec

from edgeagent import tokens as shapes
from edgeagent import wire
from edgeagent.enrolment import ClaimToken
from edgeagent.errors import EdgeError, Failed, Refused, UsageProblem
from edgeagent.hub import events, register, tokens
from edgeagent.hub.authorities import split
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.revocations import Revocation, Revocations
from edgeagent.hub.tokenstore import TokenStore
from edgeagent.link import Client
from edgeagent.runtime import jittered
from edgeagent.tokens import TokenIds, TokenList, TokenMade, TokenRow, TokenWanted
from edgeagent.trust import jwt

__all__ = ["Handler", "TokenOffice"]

log = logging.getLogger("edgeagent.hub")

#: The user, the body -> the answer. As edgeagent.hub.administration has it.
Handler = Callable[[str, bytes], Awaitable[msgspec.Struct | None]]

#: A list must fit into one message (1 MB).
_MAX_LIST_BYTES = 500_000
#: How often to look for tokens that are over, in seconds. One that is used up or expired is answered so long at least: a device whose
#: answer was lost asks again, and a person reads why.
TIDY_SECONDS = 86_400.0
#: How much later than its token a JWT was made, at most, in seconds.
MADE_SECONDS = 60
#: The pause after the store did not answer, in seconds.
RETRY_SECONDS = 60.0


class TokenOffice:
    """hub: a connection to the account HUB. tls: devices must use TLS. clock: Unix seconds.

    authorities: PEM text of the hub's own certificate authorities, empty if it has none. leaf_port: where it takes devices.
    host: its address as it tells others; empty when it does not know. servers: a cluster's, as ``host:port,host:port``; empty: it is none.
    push: makes nats-server keep out whom the revocations name, and returns when it does.
    """

    def __init__(
        self,
        hub: Client,
        keyring: Keyring,
        *,
        hub_name: str,
        tls: bool,
        authorities: Callable[[], str],
        push: Callable[[], Awaitable[None]],
        leaf_port: int = 7422,
        host: str = "",
        servers: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._leaf_port, self._host, self._servers = leaf_port, host, servers
        self._hub, self._keyring, self._hub_name = hub, keyring, hub_name
        self._tls, self._authorities, self._push, self._clock = tls, authorities, push, clock
        self._store, self._revocations = TokenStore(hub), Revocations(hub)
        self._over: set[str] = set()

    def handlers(self) -> dict[str, Handler]:
        """By what is ordered."""
        return {shapes.CREATE: self.create, shapes.LIST: self.ls, shapes.REVOKE: self.revoke}

    def use(self, keyring: Keyring) -> None:
        """Sign with other keys from now on: the hub's owner exchanged some."""
        self._keyring = keyring

    async def run(self) -> None:
        """Tidy up once a day, for ever."""
        while True:
            pause = TIDY_SECONDS
            try:
                await self.tidy()
            except EdgeError as error:
                log.warning("%s", error)
                pause = RETRY_SECONDS
            await asyncio.sleep(jittered(pause))

    async def tidy(self) -> None:
        """Remove what is kept of tokens whose JWT has ended, and keep out those that were over at the last look already."""
        now = self._clock()
        await self._store.prune(now)
        over = [token for token in await self._store.all() if tokens.is_over(token, now)]
        long_over = [token for token in over if token.id in self._over or now >= token.expires_at + TIDY_SECONDS]
        self._over = {token.id for token in over}
        if long_over:
            await self._keep_out(long_over, "it is over")

    async def _keep_out(self, over: list[shapes.Token], reason: str) -> None:
        for token in over:
            if token.key:
                # Its key has no other JWT, so that any time after this one's will do.
                ends = token.expires_at + tokens.GRACE_SECONDS + MADE_SECONDS
                refused = Revocation(until=token.expires_at, forget_at=ends, name=f"token {token.id}", reason=reason)
                await self._revocations.add("PROVISION", token.key, refused)
        await self._push()

    async def create(self, user: str, body: bytes) -> TokenMade:
        wanted = wire.decode(body, TokenWanted)
        tokens.check_wanted(wanted)
        await self._check_devices(wanted)
        now = self._clock()
        elsewhere = await self._elsewhere(wanted, now)
        await self._store.prune(now)  # first: a bucket that is full of old ones has no room for a new one
        token_id = wanted.id or tokens.new_id()
        login = self._keyring.claim_jwt(token_id, wanted.expires_in_seconds + tokens.GRACE_SECONDS)
        token = tokens.made(token_id, wanted, user, now, str(jwt.claims(login)["sub"]))
        token = await self._store.create(token, wanted.boards)
        text = ClaimToken(login, self._hub_name, self._tls, tuple(split(self._authorities()))).format()
        await self._tell(user, "token.created", f"{user} made the token {token.id} for {_whom(token)}", token.id)
        return TokenMade(
            id=token.id,
            token=text,
            expires_at=token.expires_at,
            uses=token.uses,
            elsewhere=elsewhere,
            leaf_port=self._leaf_port,
            host=self._host,
            hub=self._servers,
        )

    async def _elsewhere(self, wanted: TokenWanted, now: float) -> dict[str, str]:
        """The ids of ``wanted`` that another token may still give: id -> that token's."""
        ids = {wanted.device or wanted.replaces, *(board.id for board in wanted.boards)} - {""}
        found = {}
        for token in await self._store.all() if ids else []:
            if tokens.state(token, now) == "ready" and token.id != wanted.id:
                listed: list[shapes.Board] = []
                with contextlib.suppress(Failed):  # its list is gone, so it gives none of these
                    listed = await self._store.boards(token)
                given = {token.device or token.replaces, *(board.id for board in listed)}
                found.update(dict.fromkeys(sorted(ids & given - set(token.used.values())), token.id))
        return found

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
            # Its login ends at a later look (:meth:`tidy`): until then the service tells its holder in words that it was revoked.
            await self._store.change(token_id, lambda token: msgspec.structs.replace(token, revoked=True))
            await self._tell(user, "token.revoked", f"{user} revoked the token {token_id}", token_id)
        return TokenIds(ids=ids)

    async def _tell(self, user: str, kind: str, text: str, token_id: str) -> None:
        await events.tell(self._hub, "info", kind, text, user=user, token=token_id)


def _whom(token: shapes.Token) -> str:
    if token.replaces:
        return f"a new board in place of {token.replaces}"
    if token.boards:
        return f"{token.boards} listed board{'s' * (token.boards != 1)}"
    return token.device or f"{token.uses} device{'s' * (token.uses != 1)}"


def _fitting(rows: list[TokenRow]) -> TokenList:
    """As many of the first rows as fit into an answer."""
    size = 0
    for number, row in enumerate(rows):
        size += len(msgspec.json.encode(row))
        if size > _MAX_LIST_BYTES:
            return TokenList(tokens=rows[:number], omitted=len(rows) - number)
    return TokenList(tokens=rows)
