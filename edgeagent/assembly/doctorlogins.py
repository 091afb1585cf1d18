"""What `edgeagent hub doctor` says of JWTs: those of the accounts at the server, and people's and devices' that end soon."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone

from edgeagent import wire
from edgeagent.administration import Person
from edgeagent.assembly.doctorclients import connected
from edgeagent.assembly.findings import Finding
from edgeagent.errors import EdgeError
from edgeagent.hub import register
from edgeagent.hub.accounts import ACCOUNTS, Account
from edgeagent.hub.bucket import Bucket
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.streams import PEOPLE_BUCKET, PRESENCE_BUCKET
from edgeagent.link import Client, request
from edgeagent.trust import jwt

__all__ = ["accounts", "credentials", "findings", "named"]

#: Devices renew their JWTs a month before they end, so one that ends within so many days is late.
LATE_DAYS = 14
#: An end of an account's or a person's JWT is announced so many days ahead.
WARN_DAYS = 14
#: Names in one line.
NAMES = 5
_DAY = 86_400.0


async def accounts(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether the server's accounts are this hub's, and for how long. Nothing when nobody answers: another check says so."""
    keyring, found = Keyring.load(place.path), list[Finding]()
    async with connected(place, "sys") as clients:
        if not clients:
            return []
        for account in ACCOUNTS:
            found += await _account(clients[0], keyring, account)
    return found or [Finding("good", f"all {len(ACCOUNTS)} at the server are this hub's", check="accounts")]


async def _account(system: Client, keyring: Keyring, account: Account) -> list[Finding]:
    subject = f"$SYS.REQ.ACCOUNT.{keyring.account_public(account)}.CLAIMS.LOOKUP"
    answer = await request(system, subject, what=f"look at the account {account}")
    remedy = (
        "`edgeagent hub up` puts it right within a minute; if it does not, `edgeagent hub keys update` where the owner's keys are"
    )
    try:
        claims = jwt.decode(answer.data.decode(), issuers=keyring.issuers())
    except (EdgeError, UnicodeDecodeError):
        text = f"the server's {account} is not signed by this hub's keys: whoever is in it may be let in no more"
        return [Finding("wrong", text, remedy, "accounts")]
    days = (int(claims["exp"]) - time.time()) / _DAY if claims.get("exp") else WARN_DAYS
    if days >= WARN_DAYS:
        return []
    return [Finding("wrong" if days < 0 else "warn", f"{account} ends in {days:.0f} days", remedy, "accounts")]


async def credentials(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether people's and devices' end soon. Nothing when nobody answers: another check says so."""
    async with connected(place, "hub") as clients:
        if not clients:
            return []
        (hub,) = clients
        presences = await Bucket(hub, PRESENCE_BUCKET, wire.Presence).all()
        there = {device for device, (presence, _) in presences.items() if presence.online}
        people = await Bucket(hub, PEOPLE_BUCKET, Person).all()
        return findings(await register.every(hub), there, [person for person, _ in people.values()], time.time())


def findings(records: Mapping[str, wire.DeviceRecord], there: set[str], people: Iterable[Person], now: float) -> list[Finding]:
    """there: the devices that are linked: others renew theirs when they are back. now: Unix seconds. Pure."""
    late = {
        device: record.expires_at
        for device, record in records.items()
        if device in there and not record.revoked and 0 < record.expires_at < now + LATE_DAYS * _DAY
    }
    found = []
    if late:
        text = f"{named(late)}: linked, and should have been renewed: the first end on {_day(min(late.values()))}"
        remedy = "`edgeagent doctor` on the device says why it does not; those that were added by hand need `device add --renew`"
        found.append(Finding("warn", text, remedy, "credentials"))
    found += _of_people([person for person in people if not person.revoked], now)
    return found or [Finding("good", f"none ends within {LATE_DAYS} days", check="credentials")]


def _of_people(people: list[Person], now: float) -> Iterator[Finding]:
    for person in sorted(people, key=lambda person: person.name):
        if now < person.expires_at < now + WARN_DAYS * _DAY:
            text = f"{person.name}'s login as {person.role} ends on {_day(person.expires_at)}"
            remedy = f"`edgeagent operator add {person.name}` again, where the owner's keys are"
            yield Finding("warn", text, remedy, "credentials")
    administrators = [person for person in people if person.role == "admin"]
    if administrators and not any(person.expires_at == 0 or person.expires_at > now for person in administrators):
        remedy = "`edgeagent operator add NAME --role admin`, where the owner's keys are"
        yield Finding("wrong", "no administrator's login is good any more", remedy, "credentials")


def named(names: Iterable[str]) -> str:
    """The first of them, and how many more there are."""
    found = sorted(names)
    more = len(found) - NAMES
    return ", ".join(found[:NAMES]) + (f" and {more} more" if more > 0 else "")


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d}"
