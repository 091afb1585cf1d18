"""Claim tokens from the administrator's side: make, list, revoke."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from edgeagent import tokens as shapes
from edgeagent.fleet.admin import Admin
from edgeagent.hub.tokens import new_id
from edgeagent.tokens import TokenIds, TokenList, TokenMade, TokenWanted

__all__ = ["Tokens"]


class Tokens:
    """Every method raises Refused without the role admin, and what :meth:`Admin.ask` raises.

    >>> async with admin.connected() as (fleet, orders):                                        # doctest: +SKIP
    ...     made = await Tokens(orders).create(TokenWanted(expires_in_seconds=3600, uses=20, groups=["berlin"]))
    """

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    async def create(self, wanted: TokenWanted) -> TokenMade:
        """Make a token; its text is the secret that devices are given. Raises UsageProblem for one that cannot be meant."""
        return await self._admin.ask(shapes.CREATE, structs.replace(wanted, id=wanted.id or new_id()), TokenMade)

    async def ls(self) -> TokenList:
        """The tokens that the hub keeps, the newest first; those that ended more than 30 days ago are gone."""
        return await self._admin.ask(shapes.LIST, TokenIds(ids=[]), TokenList)

    async def revoke(self, ids: Sequence[str]) -> list[str]:
        """Let nobody in with these tokens any more; the devices that came in with them stay. All are revoked, or none."""
        return (await self._admin.ask(shapes.REVOKE, TokenIds(ids=list(ids)), TokenIds)).ids
