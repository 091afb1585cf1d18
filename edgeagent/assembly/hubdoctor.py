"""What may be wrong with a hub, looked at on its own machine: `edgeagent hub doctor`. Nothing is changed.

A check is a function of :data:`CHECKS`: it gets the hub's folder and options and returns findings, good ones too; an EdgeError that it
raises is a finding as well.
"""

from __future__ import annotations

import asyncio
import re
import stat
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from edgeagent import files
from edgeagent.assembly import doctorservers, doctorstore, hubtls
from edgeagent.assembly.doctoralarms import trouble
from edgeagent.assembly.doctorclients import connected
from edgeagent.assembly.doctordevices import devices, stale
from edgeagent.assembly.doctorexports import given_out, is_up, offered, secrets
from edgeagent.assembly.doctorlogins import accounts, credentials
from edgeagent.assembly.findings import Finding
from edgeagent.assembly.hublogin import sign_in
from edgeagent.assembly.hubsending import sending
from edgeagent.errors import EdgeError, Refused
from edgeagent.hub import ownfiles, tlsfolder
from edgeagent.hub.address import addresses, is_loopback
from edgeagent.hub.cluster import server_name
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import LOGIN_SUFFIX, SERVICES, Keyring
from edgeagent.hub.tlsfolder import TlsFolder
from edgeagent.link import peer_name, server_version
from edgeagent.machine import Machine
from edgeagent.trust import creds

__all__ = ["CHECKS", "Check", "examine"]

Check = Callable[[HubFolder, HubOptions], Awaitable[list[Finding]]]

#: An end of anything is announced so many days ahead.
WARN_DAYS = 30
_COLUMN = re.compile(r"([a-z-]+(?: [a-z]+)?) {2,}(.+)", re.DOTALL)


async def examine(place: HubFolder) -> list[Finding]:
    """Every finding, in the order of :data:`CHECKS`. Raises Unreachable when there is no hub, SettingsProblem for its hub.toml."""
    options, findings = place.options(), []
    for check in CHECKS:
        try:
            findings += await check(place, options)
        except EdgeError as error:
            findings.append(Finding.of(error))
    return [_named(finding) for finding in findings]


def _named(finding: Finding) -> Finding:
    """With the name of its check apart, for programs, where it stands before the text in a column of its own."""
    found = None if finding.check else _COLUMN.match(finding.text)
    return replace(finding, check=found[1], text=found[2]) if found else finding


async def running(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether nats-server lets us in, and whether the services beside it run."""
    try:
        client = await sign_in(place, Keyring.load(place.path), "hub")
    except EdgeError as error:
        return [_not_running(place, error)]
    version, own = server_version(client), server_name(options.name, place.cluster())
    answering = peer_name(client)
    await client.close()
    if answering != own:
        text = f"nats-server  the one of this folder, {own}, does not let us in; {answering} answers"
        return [Finding("wrong", text, _start(place))]
    found = [Finding("good", f"nats-server  {version} at {addresses(options, place.cluster()).operators}")]
    if not await asyncio.to_thread(is_up, place):
        text = "services     `edgeagent hub up` does not run, though its nats-server does: presence and renewals stand still"
        found.append(Finding("wrong", text, f"`edgeagent hub up --dir {place.path}`"))
    return found


def _not_running(place: HubFolder, error: EdgeError) -> Finding:
    try:
        place.check_not_retired()
    except Refused as retired:
        return Finding("wrong", f"nats-server  it does not run: {retired.why}", retired.remedy)
    return Finding("wrong", f"nats-server  {error.why}", _start(place))


def _start(place: HubFolder) -> str:
    return f"start it with `edgeagent hub up --dir {place.path}`, or see {place.log}"


async def servers(place: HubFolder, options: HubOptions) -> list[Finding]:
    """What the servers say of themselves and of what they keep together. Nothing when none answers."""
    async with connected(place, "sys", "hub") as clients:
        if not clients:
            return []
        return (await doctorservers.look(clients[0], clients[1], place.cluster(), Machine()))[1]


async def exposure(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether others may listen in."""
    if options.tls:
        return [Finding("good", f"encryption   TLS on every port (tls = {options.tls!r})")]
    if is_loopback(options.listen):
        return [Finding("good", f"encryption   none, and only this machine can reach {options.listen}")]
    text = f"encryption   none, and others can reach {options.listen}: whoever is on the way reads everything"
    return [Finding("warn", text, f'set `tls = "self"` in {place.options_file} and start the hub again')]


async def certificate(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether the server's certificate is good, for long enough, and for the names in hub.toml."""
    if options.tls == "self":
        own, found = TlsFolder(place), ownfiles.read(TlsFolder(place).certificate)[0]
        missing = sorted(set(tlsfolder.names(options)) - set(found.names))
        remedy = f"`edgeagent hub tls renew --dir {place.path}`"
        result = [_ending("certificate", own.certificate, found.ends, "the running hub renews it: does it run?")]
    elif options.tls == "files":
        found, path = ownfiles.check(place, options, hubtls.now()), place.named(options.certificate_file)
        missing, remedy = (
            ownfiles.unnamed(options, found),
            "get one that names it, or set `advertise` in hub.toml to a name that it has",
        )
        result = [
            _ending("certificate", path, found.ends, "put a new one in its place; the running hub takes it within a minute")
        ]
    else:
        return []
    if missing:
        result.append(Finding("warn", f"names        {', '.join(missing)}: not in the certificate", remedy))
    return result


async def certificate_authorities(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether those that devices and people trust are good for long enough."""
    if options.tls == "self":
        remedy = f"`edgeagent hub tls rotate --dir {place.path}`, and start the hub"
        own = TlsFolder(place)
        return [_ending("authority", own.authorities, one.ends, remedy) for one in ownfiles.read(own.authorities)[-1:]]
    if options.tls == "files" and options.authorities_file:
        path = place.named(options.authorities_file)
        return [_ending("authority", path, one.ends, "put the next one beside it in that file") for one in ownfiles.read(path)]
    return []


def _ending(word: str, path: Path, ends: datetime, remedy: str) -> Finding:
    days = (ends - hubtls.now()).days
    if days < 0:
        return Finding("wrong", f"{word:<12} {path} expired on {ends:%Y-%m-%d}", remedy)
    text = f"{word:<12} {path} is good until {ends:%Y-%m-%d} ({days} days)"
    return Finding("good", text) if days >= WARN_DAYS else Finding("warn", text, remedy)


async def permissions(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether others on this machine can read what is the hub's alone."""
    open_to_others = [path for path in _secret(place, options) if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if not open_to_others:
        return [Finding("good", f"files        only their owner can read the keys in {place.path}")]
    return [
        Finding("wrong", f"files        others can read {path}", f"`chmod {'700' if path.is_dir() else '600'} {path}`")
        for path in open_to_others
    ]


def _secret(place: HubFolder, options: HubOptions) -> Iterator[Path]:
    folders = [place.path, place.keys, *([place.tls] if options.tls == "self" else [])]
    yield from (folder for folder in folders if folder.is_dir())
    yield from sorted(place.keys.glob("*.nk")) + sorted(place.keys.glob(f"*{LOGIN_SUFFIX}"))
    if options.tls == "self":
        yield from sorted(place.tls.glob("*.key"))


async def foreign_key(place: HubFolder, options: HubOptions) -> list[Finding]:
    """The same of a key that is elsewhere: a group for those who may use certificates is usual, everybody is not."""
    if options.tls != "files":
        return []
    path = place.named(options.key_file)
    if stat.S_IMODE(path.stat().st_mode) & 0o007:
        return [Finding("wrong", f"files        everybody can read {path}", f"`chmod o= {path}`")]
    return []


async def services(place: HubFolder, options: HubOptions) -> list[Finding]:
    """Whether the hub's own logins are good for long enough; those that it makes itself have no end."""
    logins = [(name, place.keys / f"{name}{LOGIN_SUFFIX}") for name in SERVICES]
    ends = [(name, path, creds.parse(files.read_text(path)).expires_at) for name, path in logins]
    ending = [
        _ending("login", path, datetime.fromtimestamp(at, hubtls.now().tzinfo), "`edgeagent hub keys update` makes new ones")
        for _, path, at in ends
        if at is not None
    ]
    return ending or [Finding("good", f"logins       those of the hub's services ({', '.join(SERVICES)}) have no end")]


CHECKS: list[Check] = [
    *(running, servers, trouble, exposure, certificate, certificate_authorities, permissions, foreign_key, services),
    *(accounts, credentials, given_out, offered, secrets, sending, devices, stale),
    *(doctorstore.disk, doctorstore.limits, doctorstore.takes, doctorstore.fill),
]
