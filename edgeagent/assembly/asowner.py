"""What the hub's owner does at the hub itself: with an administrator's login that it makes for the moment."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from edgeagent import files
from edgeagent.administration import Person
from edgeagent.assembly.people import Reached
from edgeagent.fleet import Fleet
from edgeagent.fleet.admin import Admin
from edgeagent.hub.owner import Owner
from edgeagent.trust.creds import Credentials

__all__ = ["NAME", "administrator", "connected_as", "register"]

#: Who it is at the hub, and for how long, in seconds.
NAME, _SECONDS = "owner", 3600.0


def administrator(owner: Owner) -> Credentials:
    """A login for the owner itself, good for as long as it takes."""
    return owner.operator_credentials(NAME, "admin", expires_in_seconds=_SECONDS)


@contextlib.asynccontextmanager
async def connected_as(where: Reached, login: Credentials) -> AsyncIterator[Fleet]:
    """A connection to the hub with ``login``, which is on disk only meanwhile."""
    with tempfile.TemporaryDirectory(prefix="edgeagent-") as name:  # mode 0700
        file, authorities = Path(name) / "owner.creds", Path(name) / "ca.pem"
        files.write_atomic(file, login.format().encode(), 0o600)
        files.write_atomic(authorities, where.authorities.encode(), 0o600)
        async with Fleet(url=where.url, credentials=file, authorities=authorities if where.authorities else None) as fleet:
            yield fleet


async def register(owner: Owner, where: Reached, person: Person) -> Person:
    """Tell the hub of somebody who was given a login; what its register says now. Raises EdgeError: it may be down, or out of reach."""
    async with connected_as(where, administrator(owner)) as fleet:
        return await Admin(fleet.client).register_person(person)
