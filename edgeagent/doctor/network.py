"""The way to the hub: its name, its port, its certificate."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from edgeagent import servers
from edgeagent.assembly.findings import Finding
from edgeagent.doctor import aside
from edgeagent.doctor.check import ONLY_ROOT, Case, Check, Patient
from edgeagent.doctor.observed import running
from edgeagent.doctor.probe import Reached, probe
from edgeagent.errors import Refused
from edgeagent.leaf import hubkept
from edgeagent.settings import Settings
from edgeagent.times import duration

__all__ = ["DNS", "HUB", "TLS", "Way", "dns", "encryption", "reached", "read"]

DAY_SECONDS = 86_400
#: A certificate is announced so many days before its end: a hub's own are renewed a third of their life before.
SOON_DAYS = 14
#: So many addresses are tried.
MOST_ADDRESSES = 8

DNS_GOOD = Case("good", "{names}")
DNS_UNKNOWN = Case(
    "wrong",
    "{name}: {why}",
    "is the name right in `hub.urls`? `resolvectl status`, or /etc/resolv.conf, shows who is asked: `getent hosts {name}` asks",
)
HUB_GOOD = Case("good", "{urls}")
HUB_NONE = Case(
    "warn",
    "none is set: this device stays on its own",
    "`sudo edgeagent install --hub HOST --token-file FILE` lets it into a hub's fleet, with a token of whoever runs the hub",
)
HUB_SILENT = Case(
    "wrong",
    "{where}: {why}",
    "check the address in `hub.urls`, the network (`ip route`), and firewalls: port {port} must be open outwards; does the hub run?",
    "Only a wrong answer at every address is `wrong`; where another address of the hub works it is a warning.",
)
TLS_GOOD = Case("good", "certificate good for {left}")
TLS_NONE = Case(
    "warn",
    "the way to {url} is not encrypted: whoever is on it reads and changes everything",
    'on the hub, `tls = "self"` in hub.toml (`edgeagent hub doctor`), then enrol this device again',
)
TLS_SOON = Case("warn", "the certificate at {url} ends in {left}", "whoever runs the hub renews it: `edgeagent hub tls show`")
TLS_EXPIRED = Case(
    "wrong",
    "the certificate at {url} has expired",
    "whoever runs the hub renews it: `edgeagent hub tls renew`. If this machine's clock is wrong, set that",
)
TLS_EARLY = Case("wrong", "the certificate at {url} is not valid yet", "set this machine's clock: `timedatectl`")
TLS_NAME = Case(
    "wrong",
    "the certificate at {url} is for another name",
    "use an address in `hub.urls` that it names: on the hub, `edgeagent hub tls show` lists them",
)
TLS_STRANGER = Case(
    "wrong",
    "the certificate at {url} is not signed by an authority that this device trusts ({authorities})",
    "enrol again if the hub was made anew: `sudo edgeagent enroll --force`; if it was not, somebody may be in between",
)
TLS_BROKEN = Case(
    "wrong", "{url} does not speak TLS as it should ({why})", "check the address and the port in `hub.urls`: is it the hub's?"
)
TLS_UNREADABLE = Case("wrong", "{authorities} can't be used: {why}", "{remedy}")

#: X509_V_ERR_* of OpenSSL (x509_vfy.h).
_DISTRUST = {9: TLS_EARLY, 10: TLS_EXPIRED, 62: TLS_NAME, 64: TLS_NAME}


@dataclass(frozen=True, kw_only=True)
class Way:
    """tried: each address of the hub, as far as it came. hidden: the addresses, or whom to trust, are in what we may not read."""

    now: float
    authorities: str = ""
    tried: tuple[Reached, ...] = ()
    hidden: bool = False


def _wanted(own: Settings, *, hidden: bool) -> list[str]:
    """Where the device was sent to and is, else what it was given itself."""
    good = "" if hidden else hubkept.load(own.state_folder, own.hub.urls).good
    return [url for entry in ([good] if good else own.hub.urls) for url in servers.split(entry)]


def read(patient: Patient) -> Way:
    own = patient.settings
    hidden = not patient.may_look
    seen = running(patient) if hidden and not own.hub.urls else None
    known = seen.link.hub.split(", ") if seen and seen.link.hub else _wanted(own, hidden=hidden)
    urls = list(dict.fromkeys(known))[:MOST_ADDRESSES]
    authorities = None if hidden else own.authorities_file
    begun = [aside.start(partial(probe, url, own.hub.proxy, authorities)) for url in urls]
    tried = tuple(future.result() for future in begun)
    return Way(now=patient.now(), authorities=str(authorities or "those of the system"), tried=tried, hidden=hidden)


def dns(way: Way) -> Iterator[Finding]:
    unknown = {name: why for each in way.tried for name, why in each.unknown.items()}
    names = [each.host for each in way.tried if not each.unknown and not _is_address(each.host)]
    if names and not unknown:
        yield DNS_GOOD(names=", ".join(dict.fromkeys(names)))
    yield from softened(way, (DNS_UNKNOWN(name=name, why=why) for name, why in unknown.items()))


def reached(way: Way) -> Iterator[Finding]:
    if way.hidden and not way.tried:
        yield ONLY_ROOT(what="the hub's address")
    elif not way.tried:
        yield HUB_NONE()
    good = [each for each in way.tried if each.silence == ""]
    if good:
        via = f" by the proxy {good[0].host}:{good[0].port}" if good[0].proxied else ""
        yield HUB_GOOD(urls=", ".join(each.url for each in good) + via)
    silent = [each for each in way.tried if each.silence]
    yield from softened(way, (HUB_SILENT(where=_where(each), why=each.silence, port=each.port) for each in silent))


def encryption(way: Way) -> Iterator[Finding]:
    spoken = [each for each in way.tried if each.silence == ""]
    plain = [each for each in spoken if not each.encrypted and not _is_loopback(each)]
    yield from (TLS_NONE(url=each.url) for each in plain)
    secured = [each for each in spoken if each.encrypted]
    if way.hidden and secured:
        yield ONLY_ROOT(what="whom this device trusts")
        return
    yield from softened(way, (_distrusted(way, each) for each in secured if each.ends is None))
    ends = [each for each in secured if each.ends is not None]
    soon = [each for each in ends if _left(way, each) < SOON_DAYS * DAY_SECONDS]
    yield from (TLS_SOON(url=each.url, left=duration(_left(way, each))) for each in soon)
    if ends and not soon:
        yield TLS_GOOD(left=duration(min(_left(way, each) for each in ends)))


def _distrusted(way: Way, each: Reached) -> Finding:
    if each.unreadable is not None:
        error = each.unreadable
        refused = isinstance(error, Refused)
        return (
            ONLY_ROOT(what=way.authorities)
            if refused
            else TLS_UNREADABLE(authorities=way.authorities, why=error.why, remedy=error.remedy)
        )
    code, words = each.distrust or (0, "")
    case = _DISTRUST.get(code, TLS_STRANGER if code else TLS_BROKEN)
    return case(url=each.url, why=words, authorities=way.authorities)


def softened(way: Way, findings: Iterable[Finding]) -> Iterator[Finding]:
    """One address that does not work is no fault of the device's while another does."""
    works = any(_works(each) for each in way.tried)
    for finding in findings:
        yield replace(finding, level="warn") if works and finding.level == "wrong" else finding


def _works(each: Reached) -> bool:
    return each.silence == "" and not (each.encrypted and each.ends is None)


def _left(way: Way, each: Reached) -> float:
    return (each.ends or 0.0) - way.now


def _where(each: Reached) -> str:
    return f"{each.url} by the proxy {each.host}:{each.port}" if each.proxied else each.url


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(each: Reached) -> bool:
    return each.host == "localhost" or (_is_address(each.host) and ipaddress.ip_address(each.host).is_loopback)


DNS = Check(
    "dns", "Whether the name of the hub, and of a proxy on the way, can be looked up.", (read,), dns, (DNS_GOOD, DNS_UNKNOWN)
)
HUB = Check(
    "hub",
    "Whether something takes connections at the hub's addresses, through the proxy if one is set, and speaks as a hub does. Nobody logs in.",
    (read,),
    reached,
    (HUB_GOOD, HUB_NONE, HUB_SILENT, ONLY_ROOT),
)
TLS = Check(
    "tls",
    "Whether the hub's certificate is good for this device: a handshake as the leaf makes it, with the authorities that the device trusts.",
    (read,),
    encryption,
    (
        *(TLS_GOOD, TLS_NONE, TLS_SOON, TLS_EXPIRED, TLS_EARLY, TLS_NAME, TLS_STRANGER, TLS_BROKEN, TLS_UNREADABLE),
        ONLY_ROOT,
    ),
)
