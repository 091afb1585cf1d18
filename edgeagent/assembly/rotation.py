"""Exchanging the signing key of a role of people: when it may have been stolen, or when its time has come.

In an order in which a crash leaves nothing half trusted: the new key is in the owner's file before anybody hears of it; then the devices
are told, in a document that the old administrators' key signs and the new one signs again; then the hub. The old key is forgotten last.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from edgeagent.assembly.asowner import NAME, administrator, connected_as
from edgeagent.assembly.people import Reached, public_keys
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.fleet import signers
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.owner import Owner
from edgeagent.hub.roles import LIMITED, PEOPLE, PersonRole, Role
from edgeagent.trust.creds import Credentials

__all__ = ["ROTATED", "rotate"]

#: role -> what a person who has it is called.
_CALLED: dict[Role, PersonRole] = {**{role: role for role in PEOPLE}, **{limited: role for role, limited in LIMITED.items()}}
#: The roles whose keys can be exchanged so. Devices' and claims' keys are the hub's, and devices do not pin them.
ROTATED: tuple[Role, ...] = tuple(_CALLED)

#: How long the hub may take to end the old logins, and how often to look, in seconds.
HUB_SECONDS, LOOK_SECONDS = 60.0, 0.5


async def rotate(owner: Owner, role: Role, place: HubFolder, where: Reached, keys: Path, passphrase: str | None) -> str:
    """Give ``role`` a new key; its public half. What was begun and not finished is finished.

    owner: what ``keys`` holds. where: how to reach the hub, which must be up. Raises EdgeError; then do it again.
    """
    owner.check_same(public_keys(place), place.path)
    if owner.begin_rotation(role):
        owner.save(keys, passphrase, replace=True)
    old, new = administrator(owner.before_rotation(role)), administrator(owner)
    async with connected_as(where, await _accepted(where, old, new)) as fleet:
        await signers.hand_over(fleet.client, old, new, owner.signers())
    owner.rewrite_hub(place.path)  # the running hub notices
    await _until_refused(where, owner.before_rotation(role), role)
    owner.end_rotation(role)
    owner.save(keys, passphrase, replace=True)
    return owner.role_public(role)


async def _until_refused(where: Reached, before: Owner, role: Role) -> None:
    """Until a login that was signed with the old key is let in no longer. Raises Failed when the hub does not do it."""
    called = _CALLED[role]
    groups = ("any",) if called != role else ()
    old = before.operator_credentials(NAME, called, groups=groups, expires_in_seconds=HUB_SECONDS)
    deadline = asyncio.get_running_loop().time() + HUB_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        try:
            async with connected_as(where, old):
                await asyncio.sleep(LOOK_SECONDS)
        except Refused:
            return
        except EdgeError:  # it is being told just now
            await asyncio.sleep(LOOK_SECONDS)
    raise Failed(
        f"end the logins of the role {role}",
        f"the hub has let an old one in for {HUB_SECONDS:g} s",
        "does `edgeagent hub up` run? Do it again",
    )


async def _accepted(where: Reached, first: Credentials, other: Credentials) -> Credentials:
    """The login that the hub accepts: it has the new key already when a rotation is finished that was broken off late."""
    try:
        async with connected_as(where, first):
            return first
    except Refused:
        return other
